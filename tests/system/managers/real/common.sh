#!/bin/bash
# In the booted system: runs the checks of $MANAGER and writes /root/result.json.
# shellcheck source=tests/system/package/inside.sh
source /root/inside.sh
daemon_log() { journalctl --no-pager -q -u vmeventd.service | tail -n 60; }

readonly passed=/root/passed.lines
declare -A stops=()

# passed TEXT: a line of the result.
passed() {
  echo "$1" >>"$passed"
  printf '    %s\n' "$1"
}

version_of() { dpkg-query -W -f '${source:Upstream-Version}' "$1"; }

stops_of() { vmevents -o json events "$1" --type stopped 2>/dev/null | wc -l; }
has_more_stops() { (($(stops_of "$1") > ${stops[$1]:-0})); }

# from_now VM: `ended` is about the next end.
from_now() { stops[$1]=$(stops_of "$1"); }

# followed VM: vmeventd follows it.
followed() {
  wait_for "$1 is followed" vm_says "$1" RUNNING
  from_now "$1"
}

# ended VM CLASS CAUSE WHAT: the next end of the VM since it was followed, and the line of the result.
ended() {
  wait_for "$1 has ended" has_more_stops "$1"
  local event
  event=$(vmevents -o json events "$1" --type stopped | tail -n 1)
  stops[$1]=$(stops_of "$1")
  [[ $event == *"\"shutdown_class\":\"SHUTDOWN_CLASS_$2\""*"\"cause\":\"SHUTDOWN_CAUSE_$3\""* ]] ||
    fail "$4: not $2, $3: $event"
  passed "$4: $2, $3"
}

# why_says VM TEXT: an answer of `vmevents why VM` has it; fails else.
why_says() {
  local answer
  answer=$(vmevents --color never why "$1")
  [[ $answer == *"$2"* ]] || fail "vmevents why $1 has no '$2': $answer"
}

# no_warning TEXT: vmeventd's log has no warning or error with it since its last start.
no_warning() {
  ! journalctl --no-pager -q -b -u vmeventd.service --grep "^(warn|error).*$1" ||
    fail "a warning of $1"
}

# greets SOCKET: a monitor whose client has left greets the next one.
greets() {
  python3 - "$1" <<'P'
import socket, sys
monitor = socket.socket(socket.AF_UNIX)
monitor.settimeout(20)
monitor.connect(sys.argv[1])
assert b"QMP" in monitor.recv(4096)
P
}

# write_result PACKAGE NAME QEMU_PACKAGE
write_result() {
  python3 - "$MANAGER" "$2" "$(version_of "$1")" "$(version_of "$3")" "$passed" >/root/result.json <<'P'
import datetime, json, sys
key, name, version, qemu, lines = sys.argv[1:]
json.dump({"key": key, "manager": name, "version": version.split("~")[0].split("+")[0], "qemu": qemu.split("+")[0],
           "date": datetime.date.today().isoformat(), "passed": open(lines).read().splitlines()}, sys.stdout, indent=1)
print()
P
}

# shellcheck source=tests/system/managers/real/ganeti.sh
source "/root/$MANAGER.sh"
: >"$passed"
check
step "all well"
