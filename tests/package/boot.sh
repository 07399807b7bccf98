#!/bin/bash
# The package under a real systemd, as a service of a booted system: what its unit lets the daemon do,
# and what systemd does for it.
# shellcheck source=tests/package/inside.sh
source /root/inside.sh
daemon_log() { journalctl --no-pager -q -u vmeventd.service; }

service() { systemctl show --value -p "$1" vmeventd.service; }

# Of the process that runs now.
status_line() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$(service MainPID)/status"; }

check_service() {
  step "the service"
  # It was started at boot, before this: systemd knows it as ready, because it has said so.
  wait_for "the service is up" systemctl is-active vmeventd.service
  vmevents info >/dev/null
  same "the user" "$(stat -c %U "/proc/$(service MainPID)")" vmeventd
  # CAP_DAC_OVERRIDE and CAP_NET_ADMIN.
  local set
  for set in CapPrm CapEff CapBnd; do
    same "$set" "$(status_line "$set")" 0000000000001002
  done
  same "a system call filter" "$(status_line Seccomp)" 2
  same "no new privileges" "$(status_line NoNewPrivs)" 1
}

check_shutdown_file() {
  step "a VM, whose directory came after the daemon"
  start_qemu "$monitors" web1
  wait_for "the VM is followed" vm_says web1 RUNNING
  kill -USR1 "${qemu:?}"
  wait_for "the shutdown file" test -f "$monitors/web1.shutdown"
  wait_for "the verdict" vm_says web1 USER
}

check_drop_in() {
  step "another directory, by a drop-in"
  local other=/run/vms
  mkdir -p "$other" "/etc/systemd/system/vmeventd.service.d"
  echo 'watch = ["/run/vms:*.kvmd"]' >>/etc/vmeventd/vmeventd.conf
  printf '[Service]\nReadWritePaths=%s\n' "$other" \
    >/etc/systemd/system/vmeventd.service.d/directories.conf
  systemctl daemon-reload
  systemctl restart vmeventd.service
  start_qemu "$other" web2
  wait_for "the VM is followed" vm_says web2 RUNNING
  kill -USR1 "$qemu"
  wait_for "the shutdown file" test -f "$other/web2.shutdown"
}

check_signals() {
  step "reload, stop, start"
  local pid
  pid=$(service MainPID)
  systemctl reload vmeventd.service
  wait_for "the service is up" systemctl is-active vmeventd.service
  same "the process after a reload" "$(service MainPID)" "$pid"
  systemctl stop vmeventd.service
  same "how it stopped" "$(service Result) $(service ExecMainStatus)" "success 0"
  systemctl start vmeventd.service
}

# A normal user's own daemon, with that user's service manager, beside the system's.
check_user_instance() {
  step "a user's instance"
  useradd --create-home --uid 1000 alice
  command install -d -o alice -m 0700 /run/user/1000 /home/alice/.config/vmeventd
  printf 'watch = ["/run/user/1000/vms:*.kvmd"]\n' >/home/alice/.config/vmeventd/vmeventd.conf
  local as_alice=(setpriv --reuid=1000 --regid=1000 --clear-groups
    env -i HOME=/home/alice XDG_RUNTIME_DIR=/run/user/1000)
  systemd-run --quiet --unit=alice --uid=1000 -p Delegate=yes -E HOME=/home/alice \
    -E XDG_RUNTIME_DIR=/run/user/1000 /lib/systemd/systemd --user
  wait_for "the user's manager is there" \
    "${as_alice[@]}" systemctl --user is-system-running --wait
  "${as_alice[@]}" systemctl --user start vmeventd.service
  local system user
  system=$(vmevents -o json info)
  user=$("${as_alice[@]}" vmevents -o json info)
  [[ $system == *journal_id* && $user == *journal_id* && $user != "$system" ]] ||
    fail "not two daemons: $system and $user"
  systemctl stop alice.service
}

# Waits for the watchdog, which is shorter here.
check_watchdog() {
  step "a daemon that hangs"
  printf '[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\nRestartSec=100ms\n' \
    >/etc/systemd/system/vmeventd.service.d/watchdog.conf
  systemctl daemon-reload
  systemctl restart vmeventd.service
  local pid
  pid=$(service MainPID)
  kill -STOP "$pid"
  wait_for "systemd has killed it" test ! -e "/proc/$pid"
  wait_for "the service is up" systemctl is-active vmeventd.service
  vmevents info >/dev/null
}

check_upgrade_and_purge() {
  step "upgrade"
  local pid
  pid=$(service MainPID)
  make_newer
  install ./newer.deb
  systemctl is-active --quiet vmeventd.service
  [[ $(service MainPID) != "$pid" ]] || fail "an upgrade does not restart the service"
  step "purge"
  pid=$(service MainPID)
  rm -r "$monitors"
  apt-get "${apt_options[@]}" purge vmeventd >/dev/null
  [[ ! -e /proc/$pid ]] || fail "the daemon still runs"
  rm -r /etc/systemd/system/vmeventd.service.d
  check_purged
}

check_service
check_shutdown_file
check_drop_in
check_signals
check_user_instance
check_watchdog
check_upgrade_and_purge
step "all well"
