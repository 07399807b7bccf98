#!/bin/bash
# The shutdown of a booted host with real guests, in two boots of the same system: shutdown.sh begin has systemd-logind
# power the host off, shutdown.sh check looks at how the VMs ended. shutdown.sh seen NAME waits in the stop of a VM's
# unit until vmeventd has seen its end: both are reported by the same kernel at the same time.
#
#   presses   the unit's stop presses the power button, and the guest obeys
#   deaf      the unit's stop presses it as well, the guest does not, and systemd sends SIGTERM
#   killed    systemd kills it, which nobody sees in a PID namespace of its own
#   slice     systemd sends SIGTERM to it; it is in machine.slice, as libvirt's VMs are, and starts at boot
# shellcheck source=tests/system/package/inside.sh
source /root/inside.sh
daemon_log() { journalctl --no-pager -q -u vmeventd.service; }

# unit NAME GUEST LINE...: a VM as a unit; what it has written to its serial line is in /run/qemu/NAME.output.
unit() {
  local name=$1 guest=$2
  shift 2
  {
    printf '[Service]\nExecStart=/usr/bin/qemu-system-x86_64 -name %s -nodefaults -display none -m 16 ' "$name"
    printf -- '-drive file=/root/%s.disk,format=raw,snapshot=on -serial file:/run/qemu/%s.output ' "$guest" "$name"
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

has_begun() { [[ -s /run/qemu/$1.output ]]; }

begin() {
  local name
  mkdir -p /run/qemu /var/log/journal
  journalctl --flush
  boot_sector obeys >/root/obeys.disk
  boot_sector deaf >/root/deaf.disk
  printf 'watch = ["/run/qemu:*.qmp"]\n' >/etc/vmeventd/vmeventd.conf
  systemctl enable vmeventd.service
  systemctl restart vmeventd.service
  wait_for "the host's shutdown is seen" bash -c 'vmevents --color never info | grep -q "host shutdown *seen"'
  unit presses obeys "$(press presses)" $'[Unit]\nAfter=vmeventd.service'
  unit deaf deaf "$(press deaf)" TimeoutStopSec=10s $'[Unit]\nAfter=vmeventd.service'
  unit killed deaf KillSignal=SIGKILL $'[Unit]\nAfter=vmeventd.service'
  unit slice deaf Slice=machine.slice $'[Unit]\nAfter=vmeventd.service' $'[Install]\nWantedBy=multi-user.target'
  # systemd-tmpfiles makes the directory again at the second boot.
  printf 'd /run/qemu\n' >/etc/tmpfiles.d/qemu.conf
  systemctl daemon-reload
  systemctl enable vm-slice.service
  for name in presses deaf killed slice; do
    systemctl start "vm-$name.service"
    wait_for "$name is followed" vm_says "$name" RUNNING
    wait_for "$name's guest has started" has_begun "$name"
  done
  step "poweroff"
  touch /root/passed  # systemd ends this script as well
  systemctl poweroff
}

seen() { wait_for "$1 is over" vm_says "$1" STOPPED; }

# ends NAME CLASS CAUSE RULE; the last two are regular expressions.
ends() {
  local event
  # `events` also lists the GAP of the time in which the host was down.
  event=$(vmevents -o jsonl events --vm "$1" --type stopped | grep -v '"type":"EVENT_TYPE_GAP"')
  same "the ends of $1" "$(wc -l <<<"$event")" 1
  grep -Eq "\"shutdown_class\":\"SHUTDOWN_CLASS_$2\",\"cause\":\"SHUTDOWN_CAUSE_($3)\"" <<<"$event" || fail "$1: $event"
  grep -Eq "\"rule\":\"($4)\"" <<<"$event" || fail "$1 is not $4: $event"
}

# Prints what systemd logs of a unit that it stops in order. A unit whose stop job was deleted runs until the last kill.
stopped_in_order() { journalctl --no-pager -q -b -1 _PID=1 UNIT=vmeventd.service | grep 'Stopped vmeventd.service'; }

no_cycle() {
  local boot
  stopped_in_order || fail "the host's shutdown did not stop vmeventd: $(journalctl --no-pager -q -b -1 -n 40)"
  for boot in -1 0; do
    if journalctl --no-pager -q -b "$boot" | grep 'ordering cycle'; then fail "systemd broke a cycle"; fi
  done
  same "what a cycle with a slice takes at boot" "$(systemctl is-active slices.target)" active
}

check() {
  wait_for "the service is up" vmevents info
  no_cycle
  vmevents --color never events --type stopped
  ends presses ADMIN HOST_SHUTDOWN host-shutdown
  ends deaf ADMIN HOST_SHUTDOWN host-shutdown
  # During a shutdown systemd may be too busy to reap it within the 100 ms that vmeventd waits for the exit status.
  ends killed UNKNOWN 'UNOBSERVED|PROCESS_EXITED' 'killed-unseen|process-exited'
  ends slice ADMIN HOST_SHUTDOWN host-shutdown
  step "all well"
}

"$@"
