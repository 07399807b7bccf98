#!/usr/bin/env bash
# The units are valid, and the system's is exposed by 2.0 at the most.
#
#   unit.sh UNIT_DIR VMEVENTD
set -euo pipefail

units=$1
daemon=$2
command -v systemd-analyze >/dev/null || {
  echo "skipped: there is no systemd-analyze here; the chroot's test does the same"
  exit 77
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The programs stand elsewhere before they are installed.
for unit in vmeventd.service vmeventd-user.service; do
  sed "s|/usr/sbin/vmeventd|$daemon|" "$units/$unit" >"$scratch/$unit"
done
complaints=$(systemd-analyze verify --man=no --recursive-errors=no "$scratch/vmeventd.service" 2>&1
  XDG_RUNTIME_DIR=/run systemd-analyze verify --man=no --recursive-errors=no --user \
    "$scratch/vmeventd-user.service" 2>&1)
[[ -z $complaints ]] || { printf 'systemd-analyze verify:\n%s\n' "$complaints" >&2; exit 1; }

systemd-analyze security --offline=yes --no-pager --threshold=20 "$scratch/vmeventd.service" |
  tail -n 1
