#!/bin/bash
# The service on Debian's own kernel with its default settings, confined by its unit and its AppArmor profile: does all
# its work, and no more. How VMs end, and who ended them, is seen there, also while the service restarts.
# shellcheck source=tests/system/package/inside.sh
source /root/inside.sh
daemon_log() {
  journalctl --no-pager -q -u vmeventd.service
  journalctl --no-pager -q -k | grep apparmor
}

# The journal may be late.
is_denied() { [[ -n $(denied) ]]; }

denied() { journalctl --no-pager -q -k --grep 'apparmor="DENIED".*profile="vmeventd"' || true; }

# A shell under the profile, whose builtins open files.
confined() { aa-exec -p vmeventd -- /bin/bash -c "$1"; }

info_says() { vmevents --color never info | tee /dev/stderr | grep -qE "$1"; }

# vm NAME [END]: a VM that is followed. Sets qemu to its pid.
vm() {
  start_qemu "$monitors" "$@"
  wait_for "$1 is followed" vm_says "$1" RUNNING
}

# real_vm NAME: the same with a real QEMU, of root.
real_vm() {
  qemu-system-x86_64 -nodefaults -display none -m 16 -mon chardev=events,mode=control \
    -chardev "socket,id=events,path=$monitors/$1.kvmd,server=on,wait=off" &
  qemu=$!
  wait_for "$1 is followed" vm_says "$1" RUNNING
}

# ended NAME TEXT...: the VM has ended, and `vmevents why NAME` has each text.
ended() {
  local name=$1 text output
  shift
  wait_for "$name has ended" vm_says "$name" STOPPED
  output=$(vmevents --color never vm "$name")
  for text in "$@"; do
    grep -qE "$text" <<<"$output" || fail "$name: no '$text' in: $output"
  done
}

step "the profile"
aa-enabled --quiet || fail "this kernel has no AppArmor"
# The profile could not be loaded when the package was installed, because no kernel was there; at boot the service
# apparmor loads it.
wait_for "the profile is loaded" grep -x 'vmeventd (enforce)' /sys/kernel/security/apparmor/profiles

step "the service is confined"
echo 'watch = ["/var/run/ganeti/kvm-hypervisor/ctrl:*.kvmd"]' >>/etc/vmeventd/vmeventd.conf
mkdir -p "$monitors"
systemctl restart vmeventd.service
pid=$(systemctl show --value -p MainPID vmeventd.service)
same "the process" "$(cat "/proc/$pid/attr/current")" "vmeventd (enforce)"

step "the kernel's settings are Debian's own"
same "perf_event_paranoid" "$(cat /proc/sys/kernel/perf_event_paranoid)" 3
same "unprivileged_bpf_disabled" "$(cat /proc/sys/kernel/unprivileged_bpf_disabled)" 2

step "senders of signals and exit statuses are seen"
info_says '^signal senders *yes *$' || fail "signal senders: $(vmevents --color never info)"
info_says '^exit status *PROC_CONNECTOR$' || fail "exit status: $(vmevents --color never info)"
same "what was denied" "$(denied)" ""

step "kills by a shell"
vm shell
kill -KILL "$qemu"
ended shell 'class *ADMIN' 'cause *host kill' 'SIGKILL sent by machine.sh'
vm asked
kill -TERM "$qemu"
ended asked 'class *ADMIN' 'cause *host signal' 'SIGTERM sent by machine.sh'

step "a signal to a real QEMU"
real_vm real
kill -TERM "$qemu"
ended real 'class *ADMIN' 'cause *host signal' 'SIGTERM sent by machine.sh' 'SHUTDOWN reason=host-signal'

step "kills from another cgroup"
vm cgroup
mkfifo /run/killer
systemd-run --quiet --unit=killer /bin/bash -c "kill -KILL $qemu; read -r </run/killer"
ended cgroup 'class *ADMIN' 'cause *host kill' 'SIGKILL sent by bash .*/system.slice/killer.service'
echo >/run/killer
vm gone
systemd-run --quiet --unit=gone /bin/sh -c "kill -KILL $qemu"
ended gone 'class *ADMIN' 'cause *host kill' 'SIGKILL sent by sh'

step "a kill by a container's init"
mkfifo /run/init
unshare --pid --fork --mount-proc /bin/bash -c "
  /root/fake_qemu.pl $monitors/init.kvmd $nobody &
  read -r </run/init
  kill -KILL \$!
  wait \$! || true" &
wait_for "init is followed" vm_says init RUNNING
echo >/run/init
ended init 'class *ADMIN' 'cause *host kill' 'SIGKILL sent by bash'

step "ends of its own"
vm crash crash
kill -USR2 "$qemu"
ended crash 'class *CRASH' 'exit signal 11'
vm exit exit
kill -USR2 "$qemu"
ended exit 'class *CRASH' 'exit code 3'

step "a full cgroup"
systemd-run --quiet --unit=vm-eat -p MemoryMax=32M -p MemorySwapMax=0 \
  /root/fake_qemu.pl "$monitors/eat.kvmd" "$nobody" eat
wait_for "eat is followed" vm_says eat RUNNING
systemctl kill --signal=USR2 vm-eat.service
ended eat 'class *CRASH' 'cause *out of memory'
same "what was denied" "$(denied)" ""

step "a start that fails says why"
systemd-run --quiet --unit=vm-words qemu-system-x86_64 -nodefaults -display none -m 16 \
  -object memory-backend-ram,id=slow,size=64M,prealloc=on -kernel /there/is/none \
  -mon chardev=events,mode=control -chardev "socket,id=events,path=$monitors/words.kvmd,server=on,wait=off"
ended words 'class *UNKNOWN' 'cause *never ran' 'last words, in the journal' \
  'could not open kernel file' 'journalctl -u vm-words.service'
journal_quotes() {
  journalctl --no-pager -q -o verbose VM=words CAUSE=NEVER_RAN UNIT=vm-words.service |
    grep 'LAST_WORDS=.*could not open kernel file'
}
wait_for "the stop is in the journal with its fields" journal_quotes
same "what was denied" "$(denied)" ""

step "ends while the service restarts"
mkdir -p /etc/systemd/system/vmeventd.service.d
printf '[Service]\nExecStartPre=+/bin/sh -c "echo >/run/stopped; read line </run/resume"\n' \
  >/etc/systemd/system/vmeventd.service.d/restart.conf
systemctl daemon-reload
mkfifo /run/resume
vm lives
vm killed
killed=$qemu
vm crashed crash
crashed=$qemu
vm exited exit
exited=$qemu
real_vm real-crashed
real=$qemu
systemctl restart --no-block vmeventd.service
wait_for "the service has stopped" test -e /run/stopped
kill -KILL "$killed"
kill -USR2 "$crashed" "$exited"
kill -SEGV "$real"
wait "$killed" "$crashed" "$exited" "$real" || true
echo >/run/resume
ended killed 'class *ADMIN' 'cause *host kill' 'SIGKILL sent by machine.sh'
ended crashed 'class *CRASH' 'exit signal 11'
ended exited 'class *CRASH' 'exit code 3'
ended real-crashed 'class *CRASH' 'exit signal 11'
wait_for "the other VM is followed" vm_says lives RUNNING
rm /etc/systemd/system/vmeventd.service.d/restart.conf
same "what was denied" "$(denied)" ""

step "a second socket, as security.md says"
echo 'd /run/vmeventd-all 0755 vmeventd vmeventd' >/etc/tmpfiles.d/vmeventd-all.conf
systemd-tmpfiles --create /etc/tmpfiles.d/vmeventd-all.conf
printf '[Service]\nReadWritePaths=/run/vmeventd-all\n' >/etc/systemd/system/vmeventd.service.d/all.conf
systemctl daemon-reload
printf 'listen = ["%s", "%s"]\n' unix:/run/vmeventd/vmeventd.sock \
  unix:/run/vmeventd-all/vmeventd.sock,role=reader,mode=0666 >>/etc/vmeventd/vmeventd.conf
systemctl restart vmeventd.service
wait_for "the second socket answers" vmevents --server unix:/run/vmeventd-all/vmeventd.sock health listen
same "what was denied" "$(denied)" ""

step "a VM"
vm web1
systemctl reload vmeventd.service
systemctl restart vmeventd.service
wait_for "the VM is followed" vm_says web1 RUNNING
kill -USR1 "${qemu:?}"
wait_for "the shutdown file" test -f "$monitors/web1.shutdown"
wait_for "the verdict" vm_says web1 USER
same "what was denied" "$(denied)" ""

step "what it may not do"
confined 'read -r line </etc/vmeventd/vmeventd.conf' || fail "its own file is denied"
! confined 'read -r line </etc/shadow' 2>/dev/null || fail "it may read /etc/shadow"
! confined ': >/etc/vmeventd/new' 2>/dev/null || fail "it may write its configuration"
! confined /usr/bin/id >/dev/null 2>&1 || fail "it may run programs"
wait_for "the kernel says what it denies" is_denied
step "all well"
