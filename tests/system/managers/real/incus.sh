# shellcheck shell=bash disable=SC2034,SC2154
# Incus, of the backports: VMs with the firmware and the devices that it gives them. lxd.sh is LXD by the same checks.
packages=("${packages[@]:-incus}" qemu-system-x86 ovmf dnsmasq-base iptables)
backports=${backports-yes}
: "${client:=incus}" "${unit:=incus.service}" "${name:=Incus}" "${package:=incus}" "${run:=/run/incus}"
readonly vm=web1

# prepare ROOT: stand-ins for KVM and vhost_vsock, and the devices that the manager looks for.
prepare() {
  local root=$1 without=$here/without_kvm file start
  install -D -m 0755 "$without/qemu-system-x86_64" "$root/opt/without_kvm/qemu-system-x86_64"
  ln -sf /bin/true "$root/opt/without_kvm/modprobe"
  g++ -std=c++20 -O1 -static -o "$root/opt/vsock" "$without/vsock.cc"
  printf '#!/bin/sh\n' >"$root/opt/devices"
  printf 'test -e /dev/%s || mknod -m 0666 /dev/%s c %s %s\n' kvm kvm 10 232 vhost-vsock vhost-vsock 1 3 \
    vsock vsock 10 258 fuse fuse 10 229 >>"$root/opt/devices"
  file=$(find "$root"/{usr/,}lib/systemd/system -name "$unit" | head -n 1)
  start=$(sed -n 's/^ExecStart=//p' "$file")
  mkdir -p "$root/etc/systemd/system/$unit.d"
  printf '%s\n' '[Service]' 'ExecStartPre=/bin/sh /opt/devices' \
    EnvironmentFile=/opt/environment ExecStart= "ExecStart=/opt/vsock $start" \
    >"$root/etc/systemd/system/$unit.d/without-kvm.conf"
  echo PATH=/opt/without_kvm:/usr/libexec/incus:/usr/sbin:/usr/bin:/sbin:/bin >"$root/opt/environment"
  printf '127.0.0.1 localhost node1\n' >"$root/etc/hosts"
}

state_of_vm() { "$client" list --format csv --columns s "$vm"; }
same_state() { wait_for "$client list shows $1" bash -c "[[ \$($client list --format csv --columns s $vm) == $1 ]]"; }
qemu_pid() { cat "$run/$vm/qemu.pid" 2>/dev/null || cat "/var/log/$client/$vm/qemu.pid"; }
guest_is_ready() { "$client" console --show-log "$vm" | grep -q GUEST-READY; }

# guest COMMAND: types it on the guest's console.
guest() {
  wait_for "the guest is ready" guest_is_ready
  python3 - "$client" "$vm" "$1" <<'P'
import os, pty, select, signal, sys, time
client, vm, command = sys.argv[1:]
pid, console = pty.fork()
if pid == 0:
    os.execvp(client, [client, "console", vm])
seen = b""
sent = 0
deadline = time.monotonic() + 60
while b"READY42" not in seen and time.monotonic() < deadline:
    if time.monotonic() - sent > 3:
        os.write(console, b"echo READY$((6*7))\r")
        sent = time.monotonic()
    if select.select([console], [], [], 0.5)[0]:
        seen += os.read(console, 4096)
assert b"READY42" in seen, seen[-500:]
os.write(console, command.encode() + b"\r")
time.sleep(1)  # the client passes it on
os.kill(pid, signal.SIGKILL)
P
}

make_vm() {
  step "$name and a VM"
  cp -r /root/guest /srv/guest
  "$package" admin init --minimal 2>/dev/null || "$package" init --minimal
  "$client" init --empty --vm "$vm" -c security.secureboot=false -c limits.memory=256MiB
  "$client" config set "$vm" raw.qemu="-kernel /srv/guest/vmlinuz -initrd /srv/guest/initrd -append console=ttyS0"
  "$client" start "$vm"
  same_state RUNNING
}

# The page's commands; of LXD with its client.
follow_page() {
  local page=/usr/share/doc/vmeventd/connect.md
  [[ $client == incus ]] || sed -i "/^## Incus and LXD/,\$s/\\bincus \\(stop\\|start\\|config\\)/$client \\1/g" "$page"
  follow 1 connect.md "Incus and LXD"
  follow 2 connect.md "Incus and LXD"
  grep -o '^watch = \["/run/qemu:\*\.qmp"\]' "$page" | head -n 1 >>/etc/vmeventd/vmeventd.conf
  systemctl enable --now vmeventd
}

start_vm() {
  "$client" start "$vm"
  followed "$vm"
}

check_ends() {
  step "a user's poweroff"
  guest 'poweroff -f'
  ended "$vm" USER GUEST_POWEROFF "poweroff in the guest"
  same_state STOPPED
  [[ ! -e /run/qemu/$vm.qmp ]] || fail "QEMU left its socket"

  step "$client stop"
  start_vm
  wait_for "the guest is ready" guest_is_ready
  "$client" stop "$vm"
  ended "$vm" ADMIN HOST_POWERDOWN "$client stop"

  step "$client stop --force"
  start_vm
  "$client" stop --force "$vm"
  ended "$vm" ADMIN HOST_QUIT "$client stop --force"

  step "a guest's reboot"
  start_vm
  local before
  before=$(qemu_pid)
  guest 'reboot -f'
  if [[ ${reboot_is_reset:-} == yes ]]; then
    wait_for "a RESET" bash -c "vmevents -o json events $vm --type reset | grep -q ."
    same "QEMU's process" "$(qemu_pid)" "$before"
    passed "a guest's reboot: RESET"
  else
    ended "$vm" USER GUEST_REBOOT_EXIT "a guest's reboot"
    followed "$vm"
    passed "a guest's reboot: a new QEMU, RUNNING"
  fi

  step "QEMU crashes"
  wait_for "the guest is ready" guest_is_ready
  kill -SEGV "$(qemu_pid)"
  ended "$vm" CRASH QEMU_CRASHED "SIGSEGV"
  same_state STOPPED
  start_vm
}

check_own_monitor() {
  step "$name's own monitor"
  "$client" pause "$vm" 2>/dev/null
  wait_for "it is paused" vm_says "$vm" PAUSED
  "$client" start "$vm" 2>/dev/null || "$client" resume "$vm"
  wait_for "it runs" vm_says "$vm" RUNNING
  passed "$name's own monitor serves it: $client pause and resume"
}

check() {
  make_vm
  step "the page"
  follow_page
  followed "$vm"
  "$client" config get "$vm" raw.qemu | grep -q '^ *-kernel .*id=vmev' || fail "raw.qemu lost what it had"
  check_ends
  check_own_monitor
  no_warning "$vm.qmp"
  "$client" stop --force "$vm"
  write_result "$package" "$name" qemu-system-x86
}
