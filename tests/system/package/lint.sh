#!/usr/bin/env bash
# lintian finds neither errors nor warnings in the packages, binary and source, and the programs are
# hardened.
#
#   lint.sh PACKAGE_DIR SOURCE_PACKAGE_DIR
set -euo pipefail

user=()
# As root, lintian complains without this option.
((EUID != 0)) || user=(--allow-root)
# The first release was not uploaded to Debian, where it would close a bug.
lintian "${user[@]}" --suppress-tags initial-upload-closes-no-bugs --fail-on error,warning --no-override --tag-display-limit 0 "$1"/*.changes "$2"/*.changes

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for package in "$1"/vmevent[ds]_*.deb; do dpkg-deb -x "$package" "$scratch"; done
for program in usr/sbin/vmeventd usr/bin/vmevents; do
  facts=$(readelf --wide --file-header --program-headers --dynamic --dyn-syms "$scratch/$program")
  for fact in 'Position-Independent Executable' GNU_RELRO BIND_NOW __stack_chk_fail; do
    grep -q "$fact" <<<"$facts" || { echo "$program: not hardened, no $fact" >&2; exit 1; }
  done
done
