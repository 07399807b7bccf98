#!/usr/bin/env bash
# The units, and the examples of units and drop-ins, are valid, and the exposure of the system's unit is at most 2.0.
#
#   unit.sh UNIT_DIR VMEVENTD EXAMPLE_DIR
set -euo pipefail

units=$1
daemon=$2
examples=$3
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

# A VM's unit in machine.slice, which systemd starts before basic.target, as libvirt has it: no order of the units
# contradicts another. Proxmox VE's slice is qemu.slice. A cycle is not reported without the dependencies' errors; other
# faults of the machine's own units do not count.
for slice in machine.slice qemu.slice; do
  printf '[Service]\nSlice=%s\nExecStart=/bin/true\n' "$slice" >"$scratch/vm.service"
  printf '[Unit]\nRequires=basic.target\nWants=vmeventd.service vm.service\n' >"$scratch/host.target"
  complaints=$(systemd-analyze verify --man=no --recursive-errors=one \
    "$scratch"/{host.target,vm.service,vmeventd.service} 2>&1 | grep -F 'ordering cycle' || true)
  [[ -z $complaints ]] || { printf 'a VM in %s:\n%s\n' "$slice" "$complaints" >&2; exit 1; }
done

for drop_in in "$examples"/vmeventd.service.d/*.conf; do
  mkdir "$scratch/vmeventd.service.d"
  cp "$drop_in" "$scratch/vmeventd.service.d/"
  complaints=$(systemd-analyze verify --man=no --recursive-errors=no "$scratch/vmeventd.service" 2>&1)
  [[ -z $complaints ]] || { printf '%s:\n%s\n' "$drop_in" "$complaints" >&2; exit 1; }
  rm -r "$scratch/vmeventd.service.d"
done
sed "s|/usr/bin/vmevents|${daemon%/*}/vmevents|" "$examples/vm-policy.service" >"$scratch/vm-policy.service"
complaints=$(systemd-analyze verify --man=no --recursive-errors=no "$scratch/vm-policy.service" 2>&1)
[[ -z $complaints ]] || { printf 'vm-policy.service:\n%s\n' "$complaints" >&2; exit 1; }

push=$scratch/vmevents-push@ops.service
sed "s|/usr/bin/vmevents|${daemon%/*}/vmevents|" "$units/vmevents-push@.service" >"$push"
complaints=$(systemd-analyze verify --man=no --recursive-errors=no "$push" 2>&1)
[[ -z $complaints ]] || { printf 'vmevents-push@.service:\n%s\n' "$complaints" >&2; exit 1; }
systemd-analyze security --offline=yes --no-pager --threshold=11 "$push" | tail -n 1

web=$scratch/vmevents-web.service
sed "s|/usr/bin/vmevents|${daemon%/*}/vmevents|" "$units/vmevents-web.service" >"$web"
complaints=$(systemd-analyze verify --man=no --recursive-errors=no "$web" 2>&1)
[[ -z $complaints ]] || { printf 'vmevents-web.service:\n%s\n' "$complaints" >&2; exit 1; }
systemd-analyze security --offline=yes --no-pager --threshold=11 "$web" | tail -n 1

systemd-analyze security --offline=yes --no-pager --threshold=20 "$scratch/vmeventd.service" |
  tail -n 1
