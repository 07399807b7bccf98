#!/usr/bin/env bash
# Puts Debian's promtool into DIRECTORY/promtool. It extracts promtool from the package of Prometheus
# without installing the package, which would create a user and start a server.
#
#   promtool.sh DIRECTORY
#
# Does nothing if promtool is there already. Needs apt's package lists, but not root.
set -euo pipefail

[[ $# -eq 1 ]] || { echo "usage: $0 DIRECTORY" >&2; exit 2; }
out=$1
if [[ -x $out/promtool ]] && "$out/promtool" --version >/dev/null 2>&1; then
  exit 0
fi
if command -v promtool >/dev/null; then
  mkdir -p "$out"
  ln -sf "$(command -v promtool)" "$out/promtool"
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"  # apt's user reads it
echo "promtool: downloading the package prometheus"
(cd "$work" && apt-get -q=2 -o APT::Sandbox::User="$(id -un)" download prometheus)
dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -xO ./usr/bin/promtool >"$work/promtool"
chmod 755 "$work/promtool"
"$work/promtool" --version >/dev/null
mkdir -p "$out"
mv "$work/promtool" "$out/promtool"
