# shellcheck shell=bash disable=SC2034,SC2154
# Podman of Debian 13, whose systemd runs vmeventd's container as the quadlet of deploy/container, by the commands of
# docs/install.md.
# shellcheck source=tests/system/managers/real/podman.sh
source "$(dirname "${BASH_SOURCE[0]}")/podman.sh"
packages=(podman crun qemu-system-x86 socat)
release=trixie

prepare() {
  local root=$1
  install -D -m 0644 -t "$root/root/deploy/container" "$source/deploy/container/vmeventd.container"
  cp "$source/build/image/vmeventd.tar" "$root/srv/vmeventd.tar"
}

check() {
  apt-get "${apt_options[@]}" purge vmeventd >/dev/null
  podman load --quiet -i /srv/vmeventd.tar
  sockets=/run/qemu
  step "the page's commands"
  follow 2 install.md Containers
  chmod 1777 /run/qemu  # QEMU has no privilege
  step "ends"
  vm user poweroff
  act user
  ended user USER GUEST_POWEROFF "poweroff in the guest"
  vm killed deaf
  kill -KILL "$(qemu_pid killed)"
  ended killed ADMIN HOST_KILL "kill -9, without a seccomp profile of ours"
  why_says killed "SIGKILL sent by bash"
  vm asked deaf
  systemctl stop vm-asked
  ended asked ADMIN HOST_SIGNAL "systemctl stop"
  vm crashed deaf
  kill -SEGV "$(qemu_pid crashed)"
  ended crashed CRASH QEMU_CRASHED "SIGSEGV"
  step "a restart of the unit"
  vm lives deaf
  systemctl restart vmeventd
  followed lives
  passed "after a restart of the unit: RUNNING"
  kill -KILL "$(qemu_pid lives)"
  ended lives ADMIN HOST_KILL "kill -9 after a restart of the unit"
  write_result podman Podman qemu-system-x86
}
