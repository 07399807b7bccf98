# shellcheck shell=bash disable=SC2029,SC2034,SC2154
# Ganeti: a cluster of two nodes with all their daemons.
packages=(ganeti ganeti-3.0 ganeti-haskell-3.0 ganeti-htools-3.0 qemu-system-x86 qemu-utils openssh-server bridge-utils)
hostname=node1.gnt.test
second=node2.gnt.test
readonly vm=vm1.gnt.test
readonly ctrl=/run/ganeti/kvm-hypervisor/ctrl
# shellcheck disable=SC2016  # for a shell on each node
readonly install_hook='cd /usr/share/doc/vmeventd/examples/hooks && bash -e -c "$(sed -n "s/^#   //p" ganeti-vmeventd)"'

# prepare ROOT: the names of nodes, cluster and instance, root's key, and an OS that installs nothing. The watcher is run by
# the checks.
prepare() {
  local root=$1 script
  printf '%s\n' '127.0.0.1 localhost' "10.77.0.1 $hostname node1" "10.77.0.2 $second node2" '10.77.0.100 gnt.test' \
    "10.77.0.101 $vm vm1" >"$root/etc/hosts"
  ln -sf /dev/null "$root/etc/systemd/system/cron.service"
  mkdir -p "$root"/srv/ganeti/{os/noop,file-storage} "$root/root/.ssh"
  for script in create import export rename verify; do
    install -m 0755 /bin/true "$root/srv/ganeti/os/noop/$script"
  done
  echo 15 >"$root/srv/ganeti/os/noop/ganeti_api_version"
  : >"$root/srv/ganeti/os/noop/parameters.list"
  # Ganeti's user may not read /root.
  mkdir "$root/srv/guest"
  cp "$guest"/{vmlinux,initrd} "$root/srv/guest/"
  in_chroot "$root" ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
  cp "$root"/root/.ssh/{id_ed25519.pub,authorized_keys}
  echo 'StrictHostKeyChecking no' >"$root/root/.ssh/config"
}

make_cluster() {
  step "a cluster"
  local sizes=memory-size=64M,disk-size=16M,nic-count=0,disk-count=0,cpu-count=1,spindle-use=1
  gnt-cluster init --enabled-hypervisors=kvm --enabled-disk-templates=diskless --no-ssh-init --no-etc-hosts \
    --master-netdev=eth0 --nic-parameters=mode=bridged,link=eth0 \
    -H kvm:kvm_path=/usr/bin/qemu-system-x86_64,kvm_flag=disabled,kernel_path=/srv/guest/vmlinux,initrd_path=/srv/guest/initrd,kernel_args=console=ttyS0,serial_console=true,root_path=/dev/ram0,vnc_bind_address= \
    -B maxmem=128M,minmem=96M,vcpus=1 \
    --ipolicy-bounds-specs "min:$sizes/max:${sizes/64M/2G}" --ipolicy-std-specs "${sizes/64M/128M}" gnt.test
  gnt-node add --no-ssh-key-check "$second"
  gnt-instance add -t diskless --no-install --no-start -o noop -n "$hostname" --no-nics --no-ip-check --no-name-check "$vm"
}

kvmd_runs() { start-stop-daemon --stop --test --quiet --name ganeti-kvmd; }
no_kvmd() { ! kvmd_runs; }
watcher() { ganeti-watcher --ignore-pause --wait-children; }
qemu_pid() { cat "/run/ganeti/kvm-hypervisor/pid/$vm"; }
status_of_instance() { gnt-instance list --no-headers -o status "$vm"; }
same_status() { same "gnt-instance list" "$(status_of_instance)" "$1"; }

# guest COMMAND: types it on the guest's console, once a shell reads that, and sees that the shell has read it.
guest() {
  python3 - "$ctrl/$vm.serial" "$1" <<'P'
import socket, sys, time
path, command = sys.argv[1:]
console = socket.socket(socket.AF_UNIX)
console.connect(path)
console.settimeout(2)
deadline = time.monotonic() + 170

def type_until(line, answer, once=False):
    seen = b""
    typed = None
    while answer not in seen:
        assert time.monotonic() < deadline, seen[-500:]
        if typed is None or (not once and time.monotonic() - typed > 3):
            console.sendall(line)
            typed = time.monotonic()
        try:  # nobody answers while the guest boots
            seen += console.recv(65536)
        except TimeoutError:
            pass

type_until(b"echo READY$((6*7))\n", b"READY42")
type_until(b"echo READ$((6*7)); " + command.encode() + b"\n", b"READ42", once=True)
P
}

start_instance() {
  gnt-instance startup "$vm" || fail "gnt-instance startup"
  followed "$vm"
}

# Follows the page on a node whose kvmd runs, and then starts kvmd as Ganeti does.
replace_kvmd() {
  step "$1"
  follow 2
  # kvmd may have been too early for this instance, and then does not hold its monitor.
  wait_for "vmeventd sees the instance" vm_says "$vm" "held by another client\|RUNNING"
  follow 3
  followed "$vm"
  no_kvmd || fail "kvmd runs"
}

check_kvmd_stays_away() {
  step "Ganeti starts kvmd again and again"
  local command
  for command in watcher "/usr/lib/ganeti/daemon-util start ganeti-kvmd" \
    "/usr/lib/ganeti/daemon-util check-and-start ganeti-kvmd" "/etc/init.d/ganeti restart" \
    "gnt-cluster modify --user-shutdown yes" "systemctl restart vmeventd" watcher; do
    $command || fail "$command"
    wait_for "no kvmd after $command" no_kvmd
  done
  followed "$vm"
  passed "kvmd stays away after ganeti-watcher, daemon-util, init script, gnt-cluster modify and a restart of vmeventd"
}

check_ends() {
  step "a user's poweroff"
  guest 'poweroff -f'
  ended "$vm" USER GUEST_POWEROFF "poweroff in the guest"
  same_status USER_down
  watcher
  same_status USER_down
  no_kvmd || fail "kvmd runs"
  passed "poweroff in the guest: USER_down, and ganeti-watcher leaves it off"

  step "gnt-instance shutdown"
  gnt-instance shutdown "$vm"
  start_instance
  guest true
  gnt-instance shutdown "$vm"
  ended "$vm" ADMIN HOST_POWERDOWN "gnt-instance shutdown"
  same_status ADMIN_down

  step "gnt-instance shutdown of a guest that does not obey, with the hook"
  bash -c "$install_hook"
  start_instance
  guest 'killall acpid'
  gnt-instance shutdown --timeout=5 "$vm"
  wait_for "it has ended" has_more_stops "$vm"
  why_says "$vm" 'ENDED BY AN ADMIN'
  why_says "$vm" ': OP_INSTANCE_SHUTDOWN on '
  same_status ADMIN_down
  passed "gnt-instance shutdown of a guest that does not obey, with the hook: ADMIN"

  step "gnt-instance reboot --type soft"
  start_instance
  gnt-instance reboot --type soft "$vm"
  wait_for "it has ended" has_more_stops "$vm"
  why_says "$vm" 'ENDED BY AN ADMIN'
  why_says "$vm" ': OP_INSTANCE_REBOOT on '
  followed "$vm"
  passed "gnt-instance reboot --type soft, with the hook: ADMIN, then RUNNING"

  step "QEMU crashes"
  kill -SEGV "$(qemu_pid)"
  ended "$vm" CRASH QEMU_CRASHED "SIGSEGV"
  why_says "$vm" "tail /var/log/ganeti/kvm/$vm.log"
  same_status ERROR_down
  watcher
  followed "$vm"
  same_status running
  passed "SIGSEGV: ERROR_down, and ganeti-watcher starts it again"
}

check_ganetis_own_monitors() {
  step "Ganeti's own monitors"
  gnt-instance modify --runtime-memory 112M "$vm"
  greets "$ctrl/$vm.qmp"
  passed "Ganeti's own monitors serve it"
}

# As with security_model=user, QEMU cannot remove its sockets.
check_another_users_qemu() {
  step "security_model=user"
  gnt-instance shutdown "$vm"
  gnt-instance modify -H security_model=user,security_domain=nobody "$vm"
  start_instance
  guest 'poweroff -f'
  ended "$vm" USER GUEST_POWEROFF "poweroff in the guest of a QEMU of another user"
  [[ -S $ctrl/$vm.kvmd ]] || fail "QEMU removed its socket: this checks nothing"
  # A socket that a process left whose end nobody saw is reported with a problem first.
  python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('$ctrl/left.kvmd')"
  wait_for "the other socket has a problem" bash -c "vmevents --color never doctor | grep -F left.kvmd"
  ! vmevents --color never doctor | grep -F "$vm.kvmd" || fail "the doctor has a finding of the socket"
  no_warning "$vm.kvmd.*nobody listens"
  rm "$ctrl/left.kvmd"
  gnt-instance shutdown "$vm"
  gnt-instance modify -H security_model=none,security_domain= "$vm"
  start_instance
  passed "security_model=user: the socket that is left is no problem"
}

# on_node2 COMMANDS: with the functions of inside.sh and of this file.
on_node2() {
  ssh node2 "source /root/inside.sh; source /root/ganeti.sh; daemon_log() { journalctl --no-pager -q -u vmeventd; }; $1"
}

# of_node2 FUNCTION...: asks vmeventd of the second node.
of_node2() { VMEVENTS_SERVER=unix:/root/node2.sock "$@"; }

check_second_node() {
  step "the second node, by the page"
  on_node2 'follow 2; follow 3; wait_for "no kvmd" no_kvmd'
  ssh node2 "$install_hook"
  ssh -f -N -L /root/node2.sock:/run/vmeventd/vmeventd.sock node2 >/root/ssh.log 2>&1

  step "gnt-instance migrate"
  guest true
  followed "$vm"
  gnt-instance migrate -f -n "$second" "$vm"
  ended "$vm" ADMIN MIGRATED_AWAY "gnt-instance migrate"
  of_node2 followed "$vm"
  same_status running
  vmevents --color never --server unix:/run/vmeventd/vmeventd.sock,unix:/root/node2.sock why "$vm" |
    grep "^Now *RUNNING .* on $second" || fail "vmevents why of both nodes"
  on_node2 "guest 'poweroff -f'"
  of_node2 ended "$vm" USER GUEST_POWEROFF "poweroff in the guest on the second node"
  watcher
  same_status USER_down
  passed "poweroff in the guest on the second node: USER_down, and ganeti-watcher leaves it off"

  step "gnt-instance shutdown on the second node of a guest that does not obey, with the hook"
  of_node2 start_instance
  on_node2 "guest 'killall acpid'"
  gnt-instance shutdown --timeout=5 "$vm"
  of_node2 wait_for "it has ended" has_more_stops "$vm"
  of_node2 why_says "$vm" ': OP_INSTANCE_SHUTDOWN on '
  ! vmevents --color never intent list | grep -F "$vm" || fail "an intent stays on the first node"
  passed "gnt-instance shutdown on the second node, with the hook: ADMIN, and no intent stays on the first"

  step "QEMU crashes on the second node"
  of_node2 start_instance
  ssh node2 pkill -SEGV qemu-system
  of_node2 ended "$vm" CRASH QEMU_CRASHED "SIGSEGV on the second node"
  watcher
  of_node2 followed "$vm"

  step "a migration fails"
  gnt-cluster modify -H kvm:migration_bandwidth=1
  on_node2 'guest true'
  gnt-instance migrate -f -n "$hostname" "$vm" &
  local migration=$!
  wait_for "the target waits" vm_says "$vm" "waits for an incoming migration"
  from_now "$vm"
  kill -KILL "$(qemu_pid)"
  ! wait "$migration" || fail "the migration has succeeded"
  ended "$vm" UNKNOWN NEVER_RAN "the target of a migration is killed"
  of_node2 followed "$vm"
  on_node2 "guest 'poweroff -f'"
  of_node2 ended "$vm" USER GUEST_POWEROFF "poweroff in the guest after a migration that failed"
  same_status USER_down

  step "gnt-instance failover"
  follow 5
  of_node2 start_instance
  on_node2 'guest true'
  gnt-instance failover -f -n "$hostname" "$vm"
  of_node2 ended "$vm" ADMIN HOST_POWERDOWN "gnt-instance failover"
  followed "$vm"

  step "a panic"
  guest 'echo c >/proc/sysrq-trigger'
  ended "$vm" CRASH GUEST_PANIC "a guest's panic, with -device pvpanic"
  watcher
  followed "$vm"
}

check() {
  make_cluster
  step "both settings"
  follow 1
  wait_for "kvmd runs" kvmd_runs
  gnt-instance startup "$vm"
  replace_kvmd "the page"
  check_kvmd_stays_away
  check_ends
  check_another_users_qemu
  check_ganetis_own_monitors
  check_second_node
  step "back"
  follow 4
  wait_for "kvmd runs" kvmd_runs
  wait_for "kvmd has the monitor" bash -c "ss -x | grep -q '$vm.kvmd'"
  replace_kvmd "the page once more"
  write_result ganeti Ganeti qemu-system-x86
}
