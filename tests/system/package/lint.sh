#!/usr/bin/env bash
# lintian finds neither errors nor warnings, and the programs are hardened.
#
#   lint.sh PACKAGE_DIR
set -euo pipefail

package=$(echo "$1"/*.deb)
user=()
# It asks for it by itself, and complains.
((EUID != 0)) || user=(--allow-root)
lintian "${user[@]}" --fail-on error,warning --tag-display-limit 0 "$package"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
dpkg-deb -x "$package" "$scratch"
for program in usr/sbin/vmeventd usr/bin/vmevents; do
  facts=$(readelf --wide --file-header --program-headers --dynamic --dyn-syms "$scratch/$program")
  for fact in 'Position-Independent Executable' GNU_RELRO BIND_NOW __stack_chk_fail; do
    grep -q "$fact" <<<"$facts" || { echo "$program: not hardened, no $fact" >&2; exit 1; }
  done
done
