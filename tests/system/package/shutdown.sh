#!/bin/bash
# The shutdown of a booted host with real guests, in two boots of the same system: shutdown.sh begin has systemd-logind
# power the host off, shutdown.sh check looks at how the VMs ended. shutdown.sh seen NAME waits in the stop of a VM's
# unit until vmeventd has seen its end: both are reported by the same kernel at the same time.
#
#   presses   the unit's stop presses the power button, and the guest obeys
#   deaf      the unit's stop presses it as well, the guest does not, and systemd sends SIGTERM
#   killed    systemd kills it
# shellcheck source=tests/system/package/inside.sh
source /root/inside.sh
daemon_log() { journalctl --no-pager -q -u vmeventd.service; }

# boot_sector obeys|deaf: writes a byte to the serial line; the first then waits for the power button and powers
# the machine off. PM1a's registers are at 0x600 with QEMU's firmware.
boot_sector() {
  local code=(FA BA 02 06 B8 00 01 EF BA F8 03 B0 21 EE) # cli; enable the power button; say '!'
  if [[ $1 == obeys ]]; then
    code+=(BA 00 06 ED F6 C4 01 74 F7 BA 04 06 B8 00 20 EF)
  fi
  code+=(EB FE)
  # shellcheck disable=SC2059  # the format is the code
  printf "$(printf '\\x%s' "${code[@]}")"
  head -c $((510 - ${#code[@]})) /dev/zero
  printf '\x55\xAA'
}

# unit NAME GUEST LINE...: a VM as a unit; what it has written to its serial line is in /run/qemu/NAME.said.
unit() {
  local name=$1 guest=$2
  shift 2
  {
    printf '[Service]\nExecStart=/usr/bin/qemu-system-x86_64 -name %s -nodefaults -display none -m 16 ' "$name"
    printf -- '-drive file=/root/%s.disk,format=raw,snapshot=on -serial file:/run/qemu/%s.said ' "$guest" "$name"
    printf -- '-monitor unix:/run/qemu/%s.hmp,server=on,wait=off ' "$name"
    printf -- '-chardev socket,id=ev,path=/run/qemu/%s.qmp,server=on,wait=off -mon chardev=ev,mode=control\n' "$name"
    printf 'ExecStopPost=/root/shutdown.sh seen %s\n' "$name"
    printf '%s\n' "$@"
  } >"/etc/systemd/system/vm-$name.service"
}

# press NAME: the stop of a unit that presses the power button and waits for the guest.
press() {
  # shellcheck disable=SC2016  # systemd's variable
  printf 'ExecStop=/bin/sh -c "echo system_powerdown | socat - UNIX-CONNECT:/run/qemu/%s.hmp; %s"' "$1" \
    'tail --pid=$MAINPID -f /dev/null'
}

has_begun() { [[ -s /run/qemu/$1.said ]]; }

begin() {
  local name
  mkdir -p /run/qemu
  boot_sector obeys >/root/obeys.disk
  boot_sector deaf >/root/deaf.disk
  printf 'watch = ["/run/qemu:*.qmp"]\n' >/etc/vmeventd/vmeventd.conf
  systemctl enable vmeventd.service
  systemctl restart vmeventd.service
  wait_for "the host's shutdown is seen" bash -c 'vmevents --color never info | grep -q "host shutdown *seen"'
  unit presses obeys "$(press presses)" $'[Unit]\nAfter=vmeventd.service'
  unit deaf deaf "$(press deaf)" TimeoutStopSec=10s $'[Unit]\nAfter=vmeventd.service'
  unit killed deaf KillSignal=SIGKILL $'[Unit]\nAfter=vmeventd.service'
  systemctl daemon-reload
  for name in presses deaf killed; do
    systemctl start "vm-$name.service"
    wait_for "$name is followed" vm_says "$name" RUNNING
    wait_for "$name's guest has started" has_begun "$name"
  done
  step "poweroff"
  touch /root/passed  # systemd ends this script as well
  systemctl poweroff
}

seen() { wait_for "$1 is over" vm_says "$1" STOPPED; }

# ends NAME RULE
ends() {
  local event
  event=$(vmevents -o jsonl events --vm "$1" --type stopped)
  same "the ends of $1" "$(wc -l <<<"$event")" 1
  grep -q '"shutdown_class":"[A-Z_]*ADMIN","cause":"[A-Z_]*HOST_SHUTDOWN"' <<<"$event" || fail "$1: $event"
  grep -q "\"rule\":\"$2\"" <<<"$event" || fail "$1 is not $2: $event"
}

check() {
  wait_for "the service is up" vmevents info
  vmevents --color never events --type stopped
  ends presses host-shutdown
  ends deaf host-shutdown
  ends killed host-shutdown-end
  step "all well"
}

"$@"
