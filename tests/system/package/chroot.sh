#!/usr/bin/env bash
# The packages in a clean Debian: lifecycle.sh in a chroot, boot.sh or shutdown.sh in a system that systemd-nspawn
# boots, or machine.sh in a virtual machine with Debian's own kernel and AppArmor.
#
#   chroot.sh lifecycle|boot|shutdown|machine PACKAGE_DIR CACHE_DIR GUEST_DIR
#
# GUEST_DIR has Debian's kernel (tests/support/guest/make_guest.sh).
# CACHE_DIR keeps the bare system and the packages that were downloaded. All mounts are of a mount
# namespace, and all processes of a PID namespace, that end with this script, however it ends.
set -euo pipefail

readonly skipped=77
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
what=$1
package_dir=$(readlink -f "$2")
cache=$3
guest=$(readlink -f "$4")
source=$(readlink -f "$here/../../..")
readonly here what package_dir guest source
# shellcheck source=tests/support/nspawn.sh
source "$source/tests/support/nspawn.sh"

skip() {
  echo "skipped: $*"
  exit "$skipped"
}

# A system with nothing but apt, of this machine's release, for which the packages were built; a week old at most.
make_base() {
  local codename release
  codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  base=$cache/base-$codename.tar
  [[ -z $(find "$base" -mtime -7 2>/dev/null) ]] || return 0
  echo "making $base"
  release=$(mktemp -d -p "$cache" making.XXXX)
  trap 'rm -rf "$release"' EXIT
  TMPDIR=$release "$source/tools/make_debian.sh" "$codename" "$release/base.tar" --skip=cleanup/apt/lists
  mv "$release/base.tar" "$base"
  rm -rf "$release"
  trap - EXIT
}

# In memory: nothing of it is left.
unpack_base() {
  root=$cache/root
  mkdir -p "$root"
  mount -t tmpfs -o mode=0755,size=2g none "$root"
  tar -x -f "$base" -C "$root"
  mount -t proc proc "$root/proc"
  mount --bind "$cache/archives" "$root/var/cache/apt/archives"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  ! [[ -f /etc/hosts ]] || cp /etc/hosts "$root/etc/hosts"
  local package
  for package in vmeventd vmevents vmeventd-doc python3-vmeventd; do
    cp "$package_dir/$package"_*.deb "$root/root/$package.deb"
  done
  cp -r "$here"/{inside.sh,lifecycle.sh,boot.sh,shutdown.sh,machine.sh,fake_qemu.pl,fake_kvmd.pl,fake_receiver.pl} "$root/root/"
  cp -r "$source/debian/tests" "$root/root/"
}

in_chroot() {
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive HOME=/root \
    chroot "$root" "$@"
}

# prepare SCRIPT PACKAGE...: installs the packages, and has the system run the script when it is booted and
# then end.
prepare() {
  local script=$1
  shift
  # shellcheck disable=SC2016  # for that shell
  in_chroot bash -c 'source /root/inside.sh; daemon_log() { :; }; install "${debs[@]}" "$@"' bash "$@"
  cat >"$root/etc/systemd/system/boot-checks.service" <<UNIT
[Unit]
After=vmeventd.service
[Service]
Type=oneshot
Environment=HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
StandardOutput=append:/root/output
StandardError=inherit
ExecStart=/root/$script
ExecStart=/bin/touch /root/passed
ExecStopPost=/bin/systemctl --force poweroff
UNIT
  ln -s ../boot-checks.service "$root/etc/systemd/system/multi-user.target.wants/"
}

# Boots the system as a container, until it powers itself off.
boot_container() {
  local before
  before=$(nspawn_cgroups)
  timeout --signal=KILL 600 systemd-nspawn --quiet --directory="$root" --register=no --keep-unit \
    --bind="$cache/archives:/var/cache/apt/archives" --bind-ro="$guest:/root/guest" --capability=all \
    --console=pipe \
    /lib/systemd/systemd </dev/null >"$cache/boot.log" 2>&1 || true
  remove_nspawn_cgroups "$before"
  if [[ ! -f $root/root/output ]]; then
    cat "$cache/boot.log"
    skip "systemd-nspawn boots no system on this machine"
  fi
}

needs_nspawn() {
  command -v systemd-nspawn >/dev/null || skip "there is no systemd-nspawn (systemd-container) here"
}

# What systemd-nspawn leaves in these is left here.
hide_from_nspawn() {
  umount "$root/proc"
  mount -t tmpfs none /run
}

boot() {
  needs_nspawn
  prepare boot.sh
  hide_from_nspawn
  boot_container
  cat "$root/root/output"
  [[ -f $root/root/passed ]]
}

# Two boots, of which the first ends as systemd-logind ends it.
boot_and_power_off() {
  local checks=$root/etc/systemd/system/boot-checks.service
  needs_nspawn
  prepare "shutdown.sh begin" dbus systemd qemu-system-x86 socat
  hide_from_nspawn
  sed -i '/^ExecStopPost=/d' "$checks"
  boot_container
  if [[ ! -f $root/root/passed ]]; then
    cat "$root/root/output"
    return 1
  fi
  rm "$root/root/passed"
  # shellcheck disable=SC2016  # sed's last line
  sed -i 's|shutdown.sh begin|shutdown.sh check|; $aExecStopPost=/bin/systemctl --force poweroff' "$checks"
  boot_container
  cat "$root/root/output"
  [[ -f $root/root/passed ]]
}

# Boots the system in a virtual machine, as the initramfs of Debian's kernel: it needs no disk and no module.
boot_machine() {
  prepare machine.sh apparmor systemd qemu-system-x86
  # The console gets everything that it prints.
  sed -i 's|^StandardOutput=.*|StandardOutput=tty\nTTYPath=/dev/ttyS0|; s|^ExecStart=/bin/touch.*||' \
    "$root/etc/systemd/system/boot-checks.service"
  umount "$root/proc" "$root/var/cache/apt/archives"
  (cd "$root" && rm -rf usr/share/{doc,i18n,locale,man,zoneinfo} usr/lib/*/gconv var/lib/apt/lists root/*.deb &&
    find . -print0 | cpio --null -o -H newc --quiet) >/tmp/initrd
  umount "$root"
  local log=$cache/machine.log
  # Without KVM, which few machines of tests have and some have in a form that boots nothing.
  timeout --signal=KILL 600 qemu-system-x86_64 -accel tcg -cpu max -m 1536 -nodefaults -no-reboot \
    -display none -serial stdio -kernel "$guest/vmlinux" -initrd /tmp/initrd \
    -append "rdinit=/lib/systemd/systemd console=ttyS0 apparmor=1 security=apparmor panic=-1" \
    </dev/null >"$log" 2>&1 || true
  grep -aE '^(==>|FAILED|skipped)' "$log" || cat "$log"
  grep -aq '^==> all well' "$log" || { tail -n 40 "$log"; return 1; }
}

if [[ ${VMEVENTD_IN_NAMESPACE:-} != yes ]]; then
  ((EUID == 0)) || skip "only root can make a chroot"
  unshare --mount --pid --fork -- mount -t tmpfs none /tmp 2>/dev/null ||
    skip "this machine allows root no mounts (CAP_SYS_ADMIN)"
  mkdir -p "$cache/archives/partial"
  exec 9>"$cache/lock"
  flock 9
  VMEVENTD_IN_NAMESPACE=yes exec unshare --mount --propagation private --pid --fork --kill-child \
    -- "$0" "$what" "$package_dir" "$(readlink -f "$cache")" "$guest"
fi

mount -t proc proc /proc
make_base
unpack_base
case $what in
  lifecycle) in_chroot /root/lifecycle.sh ;;
  boot) boot ;;
  shutdown) boot_and_power_off ;;
  machine) boot_machine ;;
esac
