#!/usr/bin/env bash
# Puts Debian's prometheus and promtool into DIRECTORY. It extracts them from their package without installing that, which
# would create a user and start a server.
#
#   promtool.sh DIRECTORY
#
# Does nothing if they are there already. Needs apt's package lists, but not root.
set -euo pipefail

[[ $# -eq 1 ]] || { echo "usage: $0 DIRECTORY" >&2; exit 2; }
out=$1
if [[ -x $out/prometheus ]] && "$out/promtool" --version >/dev/null 2>&1; then
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"  # apt's user reads it
echo "promtool: downloading the package prometheus"
(cd "$work" && apt-get -q=2 -o APT::Sandbox::User="$(id -un)" download prometheus)
dpkg-deb -x "$work"/prometheus_*.deb "$work"
mkdir -p "$out"
mv "$work"/usr/bin/prom{etheus,tool} "$out"
"$out/promtool" --version >/dev/null
