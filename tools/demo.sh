#!/usr/bin/env bash
# ./dev demo: ends six real QEMU guests in six ways, and vmeventd reports who ended each.
#
#   demo.sh BIN_DIRECTORY GUEST_DIRECTORY
#
# Takes half a minute. Needs neither KVM, root nor a terminal. Leaves no files or processes.
set -euo pipefail

readonly demo=demo patience=60
# shellcheck source=tools/demo_common.sh
source "$(dirname "${BASH_SOURCE[0]}")/demo_common.sh"
readonly address=unix:$dir/run/vmeventd.sock

start_daemon() {
  mkdir "$dir/vms"
  "$bin/vmeventd" --watch "$dir/vms:*.kvmd" --listen "$address" --state-dir "$dir/state" \
    --log-level warn 2>"$dir/vmeventd.log" &
  local daemon=$!
  local tries=$((patience * 10))
  until [[ -S $dir/run/vmeventd.sock ]] && vmevents --server "$address" info >/dev/null 2>&1; do
    kill -0 "$daemon" 2>/dev/null || fail "vmeventd has ended"
    ((tries-- > 0)) || fail "vmeventd does not answer"
    sleep 0.1
  done
}

# Waits until vmeventd has published the end of NAME, and for the live view to show it.
expect_end() {
  vmevents --server "$address" watch --from oldest --vm "$1" --type stopped --count 1 >/dev/null ||
    fail "the end of $1 was not seen"
  unset "qemu[$1]"
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

# The commands that `act` runs, each with the guest's name.
guest_types() { echo "$1" >&"${serial[$name]}"; }
manager_says() { echo "$1" >&"${monitor[$name]}"; }
signal_qemu() { kill "-$1" "${qemu[$name]}"; }

start_daemon
say "vmeventd follows $dir/vms; vmevents watch prints its events live"
"$bin/vmevents" --server "$address" watch --from oldest &

boot "$dir/vms" web1
act web1 "its user types poweroff in the guest" guest_types "poweroff -f"
boot "$dir/vms" web2
act web2 "the host presses the power button (ACPI), and the guest obeys" \
  manager_says system_powerdown
boot "$dir/vms" db1
act db1 "the host's administrator sends QEMU quit" manager_says quit
boot "$dir/vms" db2
act db2 "SIGTERM to QEMU, as when the host goes down" signal_qemu TERM
boot "$dir/vms" mail1
act mail1 "SIGSEGV in QEMU, as of a bug in it" signal_qemu SEGV
boot "$dir/vms" mail2 -device pvpanic
act mail2 "the guest's kernel panics" guest_types "echo c > /proc/sysrq-trigger"

say "vmevents vms --all"
vmevents --server "$address" vms --all
echo
say "shutdown files, which show Ganeti that the user wanted the VM down"
(cd "$dir/vms" && ls -l -- *.shutdown)
