#!/usr/bin/env bash
# ./dev demo: ends six real QEMU guests in six ways, and vmeventd reports who ended each.
#
#   demo.sh BIN_DIRECTORY GUEST_DIRECTORY
#
# Takes half a minute. Needs neither KVM, root nor a terminal. Leaves no files or processes.
set -euo pipefail

[[ $# -eq 2 ]] || { echo "usage: $0 BIN_DIRECTORY GUEST_DIRECTORY" >&2; exit 2; }
bin=$(cd "$1" && pwd)
guest=$(cd "$2" && pwd)
readonly bin guest
readonly patience=60  # seconds, for any one step on a slow machine

dir=$(mktemp -d /tmp/vmeventd-demo.XXXXXX)
readonly dir server=unix:$dir/run/vmeventd.sock

qemu=''  # the process of the guest that runs
bold='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' plain=$'\e[0m'
fi

say() { printf '%s== %s%s\n' "$bold" "$*" "$plain"; }

fail() {
  echo "demo: $*" >&2
  if [[ -s $dir/log ]]; then
    echo "demo: vmeventd's log:" >&2
    cat "$dir/log" >&2
  fi
  exit 1
}

# Ends everything that was started: QEMUs, the daemon, the live view.
clean_up() {
  trap - EXIT INT TERM HUP
  local pids
  pids="$(jobs -p) $qemu"
  # shellcheck disable=SC2086  # one word a process
  kill -KILL $pids 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Runs in the background and is waited for, so that Ctrl-C works at once.
vmevents() {
  timeout "$patience" "$bin/vmevents" --server "$server" "$@" &
  wait $!
}

start_daemon() {
  mkdir "$dir/vms"
  "$bin/vmeventd" --watch "$dir/vms:*.kvmd" --listen "$server" --state-dir "$dir/state" \
    --log-level warn 2>"$dir/log" &
  local daemon=$!
  local tries=$((patience * 10))
  until [[ -S $dir/run/vmeventd.sock ]] && vmevents info >/dev/null 2>&1; do
    kill -0 "$daemon" 2>/dev/null || fail "vmeventd has ended"
    ((tries-- > 0)) || fail "vmeventd does not answer"
    sleep 0.1
  done
}

# boot NAME [QEMU ARGUMENT...]: boots a guest and waits for it. Sets $qemu, $serial and $monitor.
boot() {
  local name=$1 line
  shift
  mkfifo "$dir/$name."{serial,monitor}.{in,out}
  exec {serial}<>"$dir/$name.serial.in" {output}<>"$dir/$name.serial.out" \
    {monitor}<>"$dir/$name.monitor.in"
  qemu-system-x86_64 -name "$name" -accel tcg -machine pc -m 192 -nodefaults -no-user-config \
    -display none -kernel "$guest/vmlinux" -initrd "$guest/initrd" \
    -append "console=ttyS0 quiet nokaslr mitigations=off no_timer_check" \
    -serial "pipe:$dir/$name.serial" -monitor "pipe:$dir/$name.monitor" \
    -qmp "unix:$dir/vms/$name.kvmd,server=on,wait=off" "$@" >>"$dir/log" 2>&1 &
  qemu=$!
  disown "$qemu"  # otherwise the shell prints a message at its end
  until [[ ${line:-} == *GUEST-READY* ]]; do
    read -r -t "$patience" -u "$output" line || fail "$name does not boot"
  done
}

# Waits until vmeventd has published the end of NAME, and for the live view to show it.
expect_end() {
  vmevents watch --from oldest --vm "$1" --type stopped --count 1 >/dev/null ||
    fail "the end of $1 was not seen"
  qemu=''
  sleep 0.3
  echo
}

# act NAME WHAT COMMAND...: ends a guest that boot started.
act() {
  local name=$1 what=$2
  shift 2
  say "$name: $what"
  "$@"
  expect_end "$name"
}

guest_types() { echo "$1" >&"$serial"; }
manager_says() { echo "$1" >&"$monitor"; }
signal_qemu() { kill "-$1" "$qemu"; }

start_daemon
say "vmeventd follows $dir/vms; vmevents watch prints its events live"
"$bin/vmevents" --server "$server" watch --from oldest &

boot web1
act web1 "its user types poweroff in the guest" guest_types "poweroff -f"
boot web2
act web2 "the host presses the power button (ACPI), and the guest obeys" \
  manager_says system_powerdown
boot db1
act db1 "the host's administrator sends QEMU quit" manager_says quit
boot db2
act db2 "SIGTERM to QEMU, as when the host goes down" signal_qemu TERM
boot mail1
act mail1 "SIGSEGV in QEMU, as of a bug in it" signal_qemu SEGV
boot mail2 -device pvpanic
act mail2 "the guest's kernel panics" guest_types "echo c > /proc/sysrq-trigger"

say "vmevents vms --all"
vmevents vms --all
echo
say "shutdown files, which show Ganeti that the user wanted the VM down"
(cd "$dir/vms" && ls -l -- *.shutdown)
