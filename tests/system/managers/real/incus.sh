# shellcheck shell=bash disable=SC2034,SC2154
# Incus, of the backports: VMs with the firmware and the devices that it gives them. lxd.sh is LXD by the same checks.
[[ -n ${packages[*]:-} ]] || packages=(incus qemu-system-modules-spice)
packages+=(qemu-system-x86 ovmf dnsmasq-base iptables)
backports=${backports-yes}
: "${client:=incus}" "${daemon_unit:=incus.service}" "${name:=Incus}" "${package:=incus}" "${run:=/run/incus}"
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
  file=$(find "$root"/{usr/,}lib/systemd/system -name "$daemon_unit" | head -n 1)
  start=$(sed -n 's/^ExecStart=//p' "$file")
  mkdir -p "$root/etc/systemd/system/$daemon_unit.d"
  printf '%s\n' '[Service]' 'ExecStartPre=/bin/sh /opt/devices' \
    EnvironmentFile=/opt/environment ExecStart= "ExecStart=/opt/vsock $start" \
    >"$root/etc/systemd/system/$daemon_unit.d/without-kvm.conf"
  echo PATH=/opt/without_kvm:/usr/libexec/incus:/usr/sbin:/usr/bin:/sbin:/bin >"$root/opt/environment"
  printf '127.0.0.1 localhost node1\n' >"$root/etc/hosts"
}

# Of both daemons: an end of the VM may be the manager's.
daemon_log() {
  journalctl --no-pager -q -u vmeventd.service | tail -n 60
  journalctl --no-pager -q -u "$daemon_unit" | tail -n 40
  "$client" list
  "$client" info "$vm" --show-log | tail -n 20
}

same_state() { wait_for "$client list shows $1" bash -c "[[ \$($client list --format csv --columns s $vm) == $1 ]]"; }
qemu_pid() { cat "$run/$vm/qemu.pid"; }

# guest COMMAND [PROJECT]: types it on the guest's console once a shell reads that, and sees that the shell has read it.
guest() {
  python3 - "$client" "$vm" "$1" "${2:-default}" <<'P'
import os, pty, select, signal, sys, time
client, vm, command, project = sys.argv[1:]
pid, console = pty.fork()
if pid == 0:
    os.execvp(client, [client, "--project", project, "console", vm])
deadline = time.monotonic() + 170

def type_until(line, answer, once=False):
    seen = b""
    typed = None
    while answer not in seen:
        assert time.monotonic() < deadline, seen[-500:]
        # The client passes on what is typed once it is connected.
        if typed is None or (not once and time.monotonic() - typed > 3):
            os.write(console, line)
            typed = time.monotonic()
        if select.select([console], [], [], 0.5)[0]:
            seen += os.read(console, 4096)

type_until(b"echo READY$((6*7))\r", b"READY42")
type_until(b"echo READ$((6*7)); " + command.encode() + b"\r", b"READ42", once=True)
os.kill(pid, signal.SIGKILL)
P
}

# init_vm [OPTION...]: the VM, with options of the client. Its disk is small, since a copy may write all of it.
init_vm() {
  "$client" "$@" init --empty --vm "$vm" -d root,size=1GiB -c security.secureboot=false -c limits.memory=256MiB
  "$client" "$@" config set "$vm" raw.qemu="-kernel /srv/guest/vmlinuz -initrd /srv/guest/initrd -append console=ttyS0"
  # QEMU 7.2 has its kernel in the first place of the boot order, which the root disk has otherwise.
  [[ $client == incus ]] ||
    "$client" "$@" config device add "$vm" first disk source=/srv/guest path=/mnt boot.priority=9
}

make_vm() {
  step "$name and a VM"
  cp -r /root/guest /srv/guest
  "$package" admin init --minimal 2>/dev/null || "$package" init --minimal
  init_vm
  wait_for "$vm is started" started "$vm"
  guest true  # it is up, and reacts to the power button
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

# started VM [OPTION...]: the VM is started, with options of the client. LXD 5.0 cannot always do it, also after a guest's
# reboot: a helper of the former QEMU may still have the folder of a disk device, or a call of `ip` fails. It is asked again.
started() {
  local name=$1
  shift
  "$client" "$@" start "$name" || {
    [[ $client != incus ]] || return
    umount --lazy --quiet "/var/lib/lxd/devices/$name/disk.first.mnt" || true
    [[ $("$client" "$@" list --format csv --columns s "$name") == RUNNING ]]
  }
}

start_vm() {
  wait_for "$vm is started" started "$vm"
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
  guest true  # it is up, and reacts to the power button
  "$client" stop "$vm"
  ended "$vm" ADMIN HOST_POWERDOWN "$client stop"

  step "$client stop --force"
  start_vm
  "$client" stop --force "$vm"
  ended "$vm" ADMIN HOST_QUIT "$client stop --force"

  step "a guest's panic"
  start_vm
  guest 'echo c >/proc/sysrq-trigger'
  if [[ $client == incus ]]; then  # it has QEMU stay, paused
    same_state ERROR
    wait_for "it is down" vm_says "$vm" GUEST_DOWN
    incus stop --force "$vm"
  fi
  ended "$vm" CRASH GUEST_PANIC "a guest's panic, with -device pvpanic"
  same_state STOPPED

  step "a guest's reboot"
  start_vm
  guest 'reboot -f'
  ended "$vm" USER GUEST_REBOOT_EXIT "a guest's reboot"
  [[ $client == incus ]] || wait_for "$vm is started again" started "$vm"
  followed "$vm"
  passed "a guest's reboot: a new QEMU, RUNNING"
}

check_own_monitor() {
  step "$name's own monitor"
  "$client" pause "$vm"
  wait_for "it is paused" vm_says "$vm" PAUSED
  "$client" start "$vm"
  wait_for "it runs" vm_says "$vm" RUNNING
  passed "$name's own monitor serves it: $client pause and start"
}

check_crash() {
  step "QEMU crashes"
  kill -SEGV "$(qemu_pid)"
  ended "$vm" CRASH QEMU_CRASHED "SIGSEGV"
  same_state STOPPED
}

# A copy has the original's path until the page's lines have changed it.
check_copy() {
  step "a copy"
  "$client" copy "$vm" web2
  follow 3 connect.md "Incus and LXD"
  wait_for "web2 is started" started web2
  followed web2
  "$client" stop --force web2
  ended web2 ADMIN HOST_QUIT "a copy, on a path of its own"
}

# doctor_lines SUBJECT: the lines for a shell that doctor prints for it. With findings doctor exits with 1.
doctor_lines() {
  { vmevents -o json doctor || true; } | python3 -c '
import json, sys
for finding in map(json.loads, sys.stdin):
    if any(sys.argv[1] in subject for subject in finding["subjects"]):
        print(*(step["line"] for step in finding["steps"] if step["place"] == "shell"), sep="\n")' "$1"
}

# A VM of the same name in a project, by the lines that doctor prints, while the first one exists.
check_project() {
  local lines
  step "a VM of the same name in a project"
  start_vm
  "$client" project create tenant -c features.images=false -c features.profiles=false
  init_vm --project tenant
  "$client" --project tenant config device add "$vm" eth0 none  # a network has each name once
  wait_for "$vm is started in the project" started "$vm" --project tenant
  guest true tenant
  lines=$(doctor_lines "(pid $(cat "$run/tenant_$vm/qemu.pid"))")
  printf '%s\n' "$lines"
  bash -e -c "$lines" || fail "the lines of doctor"
  followed "tenant_$vm"
  guest 'poweroff -f' tenant
  ended "tenant_$vm" USER GUEST_POWEROFF "poweroff in a VM of the same name in a project"
  "$client" stop --force "$vm"
  ended "$vm" ADMIN HOST_QUIT "$client stop --force of the other one"
}

check() {
  make_vm
  step "the page"
  follow_page
  followed "$vm"
  "$client" config get "$vm" raw.qemu | grep -q '^ *-kernel .*id=vmev' || fail "raw.qemu lost what it had"
  check_ends
  check_own_monitor
  check_crash
  check_copy
  check_project
  no_warning "$vm.qmp"
  write_result "$package" "$name" qemu-system-x86
}
