#!/bin/bash
# The package under a real systemd, as a service of a booted system: what its unit lets the daemon do,
# and what systemd does for it.
# shellcheck source=tests/system/package/inside.sh
source /root/inside.sh
daemon_log() { journalctl --no-pager -q -u vmeventd.service; }

# log_has TEXT: not grep -q, at whose end journalctl would fail. The journal may be late: wait_for it.
log_has() { daemon_log | grep "$1"; }

service() { systemctl show --value -p "$1" vmeventd.service; }

# status_line NAME: a line of the daemon's /proc/PID/status.
status_line() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$(service MainPID)/status"; }

# Starts kvmd as Ganeti's daemon-util does, for its watcher and for the start of an instance, where Ganeti has no units.
ganeti_starts_kvmd() {
  local KVMD_ARGS=''
  source /etc/default/ganeti
  # shellcheck disable=SC2086  # arguments
  start-stop-daemon --start --quiet --oknodo --pidfile /run/ganeti/ganeti-kvmd.pid \
    --startas /usr/sbin/ganeti-kvmd --chuid root:root -- $KVMD_ARGS
}

kvmd_is_there() { start-stop-daemon --stop --test --quiet --name ganeti-kvmd; }
kvmd_is_gone() { ! kvmd_is_there; }
end_kvmd() {
  start-stop-daemon --stop --quiet --oknodo --retry 5 --name ganeti-kvmd
  wait_for "kvmd is gone" kvmd_is_gone
}

# What the package prints when it is installed again over an existing configuration.
install_again() {
  apt-get "${apt_options[@]}" remove vmeventd >/dev/null
  install ./vmeventd.deb
}

check_nothing_configured() {
  step "nothing is configured"
  same "the service" "$(systemctl is-active vmeventd.service || true)" inactive
  same "at boot" "$(systemctl is-enabled vmeventd.service || true)" disabled
  apt-get "${apt_options[@]}" purge vmeventd >/dev/null
  install ./vmeventd.deb
  grep -q 'is not started: nothing is configured' /root/apt.log || fail "it does not say why"
  same "the service" "$(systemctl is-active vmeventd.service || true)" inactive
}

check_beside_kvmd() {
  step "next to a kvmd"
  command install -m 0755 fake_kvmd.pl /usr/sbin/ganeti-kvmd
  echo 'KVMD_ARGS=""' >/etc/default/ganeti
  ganeti_starts_kvmd
  wait_for "kvmd is there" kvmd_is_there
  start_qemu "$monitors" web0
  local kept=/root/vmeventd.conf
  cp /etc/vmeventd/vmeventd.conf "$kept"
  echo 'watch = ["/var/run/ganeti/kvm-hypervisor/ctrl:*.kvmd"]' >>/etc/vmeventd/vmeventd.conf
  install_again
  grep -q 'is not started: ganeti-kvmd is active' /root/apt.log || fail "it does not say why"
  same "the service" "$(systemctl is-active vmeventd.service || true)" inactive
  kvmd_is_there || fail "kvmd was ended"
  cp "$kept" /etc/vmeventd/vmeventd.conf
}

# The page, while a kvmd runs that Ganeti started itself or by a unit; back, and the page again.
check_ganeti() {
  step "the page: $1"
  local start_kvmd=$2
  follow 2
  follow 3
  wait_for "the VM is followed" vm_says web0 RUNNING
  kvmd_is_gone || fail "a kvmd runs in addition to vmeventd"
  "$start_kvmd"
  wait_for "kvmd ends at once" kvmd_is_gone
  systemctl stop vmeventd.service
  "$start_kvmd"
  systemctl start vmeventd.service
  "$start_kvmd"
  wait_for "the VM is followed" vm_says web0 RUNNING
  wait_for "kvmd ends at once after a restart" kvmd_is_gone
  step "back, and once more"
  follow 4
  wait_for "kvmd is there" kvmd_is_there
  install_again
  grep -q 'is not started: ganeti-kvmd is active' /root/apt.log || fail "it does not say why"
  follow 2
  follow 3
  wait_for "the VM is followed" vm_says web0 RUNNING
}

# Removed without the page's "Back", and installed again from FILE to follow it after all.
leave_ganeti() {
  step "a removal says that nobody follows Ganeti"
  apt-get "${apt_options[@]}" remove vmeventd >/root/apt.log
  grep -q 'remove KVMD_ARGS' /root/apt.log || fail "it does not: $(cat /root/apt.log)"
  install "$1"
  follow 4
  wait_for "kvmd is there" kvmd_is_there
  end_kvmd
}

unit_starts_kvmd() { systemctl start ganeti-kvmd.service; }

# daemon_util START: Ganeti's program that the page calls.
daemon_util() {
  mkdir -p /usr/lib/ganeti
  printf '#!/bin/bash\n%s\n' "$1" >/usr/lib/ganeti/daemon-util
  chmod 0755 /usr/lib/ganeti/daemon-util
}

check_ganeti_without_units() {
  daemon_util "$(declare -f ganeti_starts_kvmd); ganeti_starts_kvmd"
  check_ganeti "without units" ganeti_starts_kvmd
  leave_ganeti ./vmeventd.deb
}

check_ganeti_with_units() {
  # shellcheck disable=SC2016  # systemd's own variable
  printf '[Service]\nEnvironmentFile=-/etc/default/ganeti\n%s\nRestart=on-failure\n' \
    'ExecStart=/usr/sbin/ganeti-kvmd -f $KVMD_ARGS' >/etc/systemd/system/ganeti-kvmd.service
  systemctl daemon-reload
  daemon_util 'systemctl start ganeti-kvmd.service'
  unit_starts_kvmd
  wait_for "kvmd is there" kvmd_is_there
  check_ganeti "with units" unit_starts_kvmd
  step "an upgrade in the place of kvmd"
  local pid
  pid=$(service MainPID)
  make_newer
  install "${newer[@]}"
  [[ $(service MainPID) != "$pid" ]] || fail "an upgrade does not restart the service"
  wait_for "the VM is followed" vm_says web0 RUNNING
  leave_ganeti ./newer/vmeventd.deb
  systemctl stop ganeti-kvmd.service
  rm -r /etc/systemd/system/ganeti-kvmd.service /usr/lib/ganeti
  systemctl daemon-reload
  kill "${qemu:?}"
  rm "$monitors/web0.kvmd" /etc/default/ganeti
  rm -f /run/ganeti/ganeti-kvmd.pid
  apt-get "${apt_options[@]}" purge vmeventd vmevents vmeventd-doc >/dev/null
}

# With a configuration that exists already, and without kvmd, the service starts when the package is installed.
check_service() {
  step "the service"
  mkdir -p /etc/vmeventd
  echo 'watch = ["/var/run/ganeti/kvm-hypervisor/ctrl:*.kvmd"]' >/etc/vmeventd/vmeventd.conf
  apt-get "${apt_options[@]}" -o Dpkg::Options::=--force-confold install "${debs[@]}" \
    >/root/apt.log 2>&1 || fail "$(cat /root/apt.log)"
  same "at boot" "$(systemctl is-enabled vmeventd.service)" enabled
  # systemd knows it as ready, because it has reported so.
  wait_for "the service is up" systemctl is-active vmeventd.service
  vmevents info >/dev/null
  same "the user" "$(stat -c %U "/proc/$(service MainPID)")" vmeventd
  # CAP_DAC_OVERRIDE and CAP_NET_ADMIN; CAP_BPF and CAP_PERFMON were dropped.
  local set
  for set in CapPrm CapEff; do
    same "$set" "$(status_line "$set")" 0000000000001002
  done
  same CapBnd "$(status_line CapBnd)" 000000c000001002
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
  echo 'watch = ["/run/vms:*.kvmd"]' >/etc/vmeventd/vmeventd.conf
  cp /usr/share/doc/vmeventd/examples/systemd/vmeventd.service.d/shutdown-files.conf \
    /etc/systemd/system/vmeventd.service.d/
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

# systemd may not have noticed the end of the previous process.
is_another() {
  local now
  now=$(service MainPID)
  [[ $now != 0 && $now != "$1" && $(service ActiveState) == active ]]
}

kill_service() {
  local pid
  pid=$(service MainPID)
  kill -KILL "$pid"
  wait_for "systemd starts another" is_another "$pid"
}

stop_and_start_service() {
  systemctl stop vmeventd.service
  same "the store of a service that is stopped" "$(service NFileDescriptorStore)" 0
  systemctl start vmeventd.service
}

declare -A pids=()
dir=/root/guests

# ends_while_away WAY COMMAND...: boots guests, ends each in its way while the daemon is away because of the
# command, and waits for their verdicts. The guest that stays must have noticed nothing.
ends_while_away() {
  local way=$1 name user=USER admin='host powerdown' panic='guest panic' killed=UNKNOWN gaps
  step "guests on real QEMUs that end while the daemon is away: $way"
  shift
  local names=(user admin panic killed)
  for name in "${names[@]/#/$way-}"; do
    boot "$name" "$([[ $name == *-admin ]] && echo monitor || echo serial)"
  done
  for name in "${names[@]/#/$way-}"; do
    wait_for "$name is followed" vm_says "$name" RUNNING
    wait_for "$name's guest has started" test -s "$dir/$name.output"
  done
  {
    echo '#!/bin/sh'
    echo "echo x >$dir/$way-user; echo system_powerdown >$dir/$way-admin; echo p >$dir/$way-panic"
    echo "kill -KILL ${pids[$way-killed]}"
    for name in "${names[@]/#/$way-}"; do echo "tail --pid=${pids[$name]} -f /dev/null"; done
    echo ': >/root/end_guests'
  } >/root/end_guests
  "$@"
  same "what was to end the guests" "$(cat /root/end_guests)" ""
  # shellcheck disable=SC2034  # they are read by their names
  if [[ $way == stop || $way == kill ]]; then user=UNKNOWN admin=UNKNOWN panic=UNKNOWN; fi
  for name in "${names[@]}"; do
    wait_for "the verdict on $way-$name" vm_says "$way-$name" "${!name}"
  done
  same "the store" "$(service NFileDescriptorStore)" 0
  wait_for "the guest that stays is followed" vm_says stays RUNNING
  gaps=$(events | grep '"name":"stays"' | grep -c -E '"type":"EVENT_TYPE_(GAP|MONITOR)' || true)
  [[ $way == stop || $way == kill ]] || same "what the guest that stays has noticed" "$gaps" 0
}

check_guests_while_away() {
  # shellcheck source=debian/tests/boot_guests.sh
  source tests/boot_guests.sh
  mkdir "$dir"
  make_guests_disk || fail "no boot sector"
  printf '[Service]\nRestartSec=100ms\nExecStartPre=+/bin/sh /root/end_guests\n' \
    >/etc/systemd/system/vmeventd.service.d/end.conf
  : >/root/end_guests
  systemctl daemon-reload
  boot stays serial
  wait_for "the guest that stays is followed" vm_says stays RUNNING
  ends_while_away restart systemctl restart vmeventd.service
  ends_while_away kill kill_service
  make_newer
  local pid
  pid=$(service MainPID)
  ends_while_away upgrade install "${newer[@]}"
  [[ $(service MainPID) != "$pid" ]] || fail "an upgrade does not restart the service"
  ends_while_away stop stop_and_start_service
  rm /etc/systemd/system/vmeventd.service.d/end.conf
  systemctl daemon-reload
  kill "${pids[stays]}"
}

posted() { grep -c '"name":"web10"' posted || true; }

push_runs_as_other_than() {
  local pid
  pid=$(systemctl show --value -p MainPID vmevents-push@ops)
  [[ $pid != 0 && $pid != "$1" ]]
}

# The page's commands, as far as a receiver on this host goes: its user is made by systemd and may use the socket.
check_push() {
  step "a push to a receiver"
  ./fake_receiver.pl 8099 posted &
  local receiver=$!
  command install -d -m 0700 /etc/vmevents/push/ops
  printf 'whsec_dGhpcyBpcyBhIHNlY3JldA==\n' | command install -m 0600 /dev/stdin /etc/vmevents/push/ops/secret
  # It reads from the oldest event, because the unit is started before the push follows.
  printf '%s\n' \
    'PUSH_OPTIONS=http://127.0.0.1:8099/ --type stopped --from oldest --secret-file push_secret' \
    'VMEVENTS_SERVER=unix:/run/vmeventd/vmeventd.sock' >/etc/vmevents/push/ops/options
  systemctl enable --now vmevents-push@ops
  start_qemu /run/vms web10
  wait_for "the VM is followed" vm_says web10 RUNNING
  kill -USR1 "$qemu"
  wait_for "its end is posted" grep -q '"name":"web10"' posted
  [[ $(stat -c %u "/proc/$(systemctl show --value -p MainPID vmevents-push@ops)") -ge 61184 ]] ||
    fail "it has no user of its own"
  vmevents push --status --state-dir /var/lib/private/vmevents-push/ops
  wait_for "another user reads its metrics" setpriv --reuid=65534 --regid=65534 --clear-groups \
    grep -q '^vmevents_push_delivered_events_total.* [1-9]' /run/vmevents-push/ops/push.prom
  systemctl restart vmevents-push@ops
  start_qemu /run/vms web11
  wait_for "the VM is followed" vm_says web11 RUNNING
  kill -USR1 "$qemu"
  wait_for "the next end is posted" grep -q '"name":"web11"' posted
  same "the posts of the end before" "$(posted)" 1
  local before
  before=$(systemctl show --value -p MainPID vmevents-push@ops)
  install --reinstall ./vmevents.deb
  wait_for "an upgrade restarts it" push_runs_as_other_than "$before"
  kill "$receiver"
  rm -r /etc/vmevents  # its state is for the purge
}

# ask_page TOKEN: the status of the list of VMs.
ask_page() {
  exec 5<>/dev/tcp/127.0.0.1/9557
  printf 'GET /api/v1/vms HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n' "$1" >&5
  head -n 1 <&5
  exec 5>&-
}

# The commands at the head of the unit: its user is made by systemd and may use the socket.
check_web() {
  step "the page"
  local token
  command install -d -m 0700 /etc/vmevents/web
  (umask 077; head -c 24 /dev/urandom | base64 >/etc/vmevents/web/token)
  token=$(</etc/vmevents/web/token)
  systemctl enable --now vmevents-web
  list_has() { ask_page "$1" | grep -q " $2 "; }
  wait_for "the list is there" list_has "$token" 200
  list_has "x$token" 401 || fail "another token is taken"
  [[ $(stat -c %u "/proc/$(systemctl show --value -p MainPID vmevents-web)") -ge 61184 ]] ||
    fail "it has no user of its own"
  systemctl disable --now vmevents-web
  rm -r /etc/vmevents
}

has_stopped() { [[ $(service ActiveState) == inactive ]]; }

# A stand-in for a manager's unit, whose VM powers off as the unit is stopped, and a VM in machine.slice, ordered as
# libvirt orders the scope of a VM: behind its own daemon. All stop in one transaction with vmeventd, as at the host's
# shutdown. The stop waits a while for a vmeventd that stops too early.
check_shutdown_of_the_host() {
  step "an orderly shutdown of the host"
  printf '[Unit]\nDescription=stand-in\n' >/etc/systemd/system/host.target
  cat >/root/stop_vm.sh <<'STOP'
#!/bin/sh
for _ in 1 2 3 4 5 6 7 8 9 10; do
  [ -e "/proc/$VMEVENTD" ] || break
  sleep 0.2
done
kill -USR1 "$MAINPID"
tail --pid="$MAINPID" -f /dev/null
STOP
  chmod +x /root/stop_vm.sh
  printf '[Unit]\nDescription=stand-in\n' >/etc/systemd/system/virt-guest-shutdown.target
  printf '[Unit]\nPartOf=host.target\n[Service]\nExecStart=/bin/sleep infinity\n' >/etc/systemd/system/libvirtd.service
  local name slice of order
  for name in guests slice; do
    slice=system.slice of=libvirt-guests.service order=
    [[ $name == guests ]] ||
      slice=machine.slice of=vm-in-slice.service order=$'After=libvirtd.service\nBefore=virt-guest-shutdown.target\n'
    printf '[Unit]\nPartOf=host.target\n%s[Service]\nSlice=%s\nEnvironment=VMEVENTD=%s\n%s\n%s\n' "$order" "$slice" \
      "$(service MainPID)" "ExecStart=/root/fake_qemu.pl /run/vms/$name.kvmd $nobody" \
      'ExecStop=/root/stop_vm.sh' >"/etc/systemd/system/$of"
  done
  for of in vmeventd.service machine.slice; do
    mkdir -p "/etc/systemd/system/$of.d"
    printf '[Unit]\nPartOf=host.target\n' >"/etc/systemd/system/$of.d/host.conf"
  done
  systemctl daemon-reload
  systemctl start host.target libvirtd.service libvirt-guests.service vm-in-slice.service
  wait_for "the VM of the unit is followed" vm_says guests RUNNING
  wait_for "the VM in the slice is followed" vm_says slice RUNNING
  systemctl stop host.target  # waits for the target alone
  wait_for "vmeventd has stopped" has_stopped
  if journalctl --no-pager -q -b | grep -F 'ordering cycle'; then fail "systemd had to break a cycle"; fi
  rm -r /etc/systemd/system/{host.target,libvirtd.service,libvirt-guests.service,vm-in-slice.service,machine.slice.d} \
    /etc/systemd/system/virt-guest-shutdown.target \
    /etc/systemd/system/vmeventd.service.d/host.conf
  systemctl daemon-reload
  systemctl start vmeventd.service
  for name in guests slice; do
    wait_for "the end of $name was seen" vm_says "$name" USER
  done
}

# A normal user's own daemon, with that user's service manager, in addition to the system's.
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
  wait_for "the service is up" vmevents info
  # What follows may keep a busy machine for as long as this.
  rm /etc/systemd/system/vmeventd.service.d/watchdog.conf
  systemctl daemon-reload
  systemctl restart vmeventd.service
}

events() { vmevents -o jsonl events; }

# A newer format of the journal, and the way back.
check_formats() {
  step "an upgrade to a newer format of the journal, and back"
  local old new
  old=$(events)
  follow 1 install.md "Upgrade, downgrade, backup, removal"
  systemctl start vmeventd.service
  make_newer
  install "${newer[@]}"
  systemctl stop vmeventd.service
  # SQLite's user_version; ours is 6.
  printf '\0\0\0\7' | dd of=/var/lib/vmeventd/journal.db bs=1 seek=60 conv=notrunc status=none
  install "${debs[@]}"
  systemctl start vmeventd.service
  wait_for "the older version moves it aside" \
    bash -c 'journalctl -q -u vmeventd.service | grep -A1 "journal has format 7" | grep "was moved to /var/lib/vmeventd/journal.db.2"'
  follow 2 install.md "Upgrade, downgrade, backup, removal"
  wait_for "the service is up" systemctl is-active vmeventd.service
  # An event reports that the journal was restored.
  new=$(events)
  same "the events" "$(head -n "$(wc -l <<<"$old")" <<<"$new")" "$old"
  rm -r /var/lib/vmeventd.*
}

check_guests() {
  step "guests on real QEMUs"
  install qemu-system-x86
  tests/guest || fail "tests/guest"
}

# Real domains that libvirt-guests shuts down, in one transaction with vmeventd, libvirtd and the domains' slice, as
# at the host's shutdown.
check_shutdown_of_the_host_with_libvirt() {
  step "an orderly shutdown of the host, with domains of libvirt"
  install libvirt-daemon-system libvirt-clients
  printf '%s\n' 'cgroup_controllers = [ ]' 'namespaces = [ ]' 'security_driver = "none"' 'user = "root"' \
    'group = "root"' >/etc/libvirt/qemu.conf
  printf 'ON_SHUTDOWN=shutdown\nSHUTDOWN_TIMEOUT=120\n' >/etc/default/libvirt-guests
  follow 1 connect.md libvirt
  printf '[Unit]\nDescription=stand-in\n' >/etc/systemd/system/host.target
  local of units=(libvirt-guests.service virt-guest-shutdown.target libvirtd.service libvirtd.socket
    libvirtd-ro.socket libvirtd-admin.socket machine.slice vmeventd.service)
  for of in "${units[@]}"; do
    mkdir -p "/etc/systemd/system/$of.d"
    printf '[Unit]\nPartOf=host.target\n' >"/etc/systemd/system/$of.d/host.conf"
  done
  usermod --append --groups libvirt vmeventd
  echo 'libvirt = ["qemu:///system"]' >/etc/vmeventd/vmeventd.conf
  systemctl daemon-reload
  systemctl restart libvirtd.service vmeventd.service
  cat >domain.xml <<'XML'
<domain type='qemu'><name>domain</name><memory unit='MiB'>192</memory>
<os><type arch='x86_64' machine='pc'>hvm</type><kernel>/root/guest/vmlinux</kernel><initrd>/root/guest/initrd</initrd>
<cmdline>console=ttyS0 quiet nokaslr mitigations=off no_timer_check</cmdline></os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator><serial type='file'><source path='/root/serial'/></serial>
<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>
XML
  virsh -q define domain.xml
  virsh -q start domain
  wait_for "the domain is followed" vm_says domain RUNNING
  wait_for "its guest notices the power button" grep -q GUEST-READY serial
  systemctl start host.target libvirt-guests.service
  systemctl stop host.target  # waits for the target alone
  wait_for "vmeventd has stopped" has_stopped
  for of in "${units[@]}"; do rm "/etc/systemd/system/$of.d/host.conf"; done
  rm /etc/systemd/system/host.target
  systemctl daemon-reload
  systemctl start vmeventd.service
  wait_for "the end of the domain was seen" vm_says domain 'host powerdown'
}

check_purge() {
  step "purge"
  local pid
  pid=$(service MainPID)
  [[ -d /var/lib/private/vmevents-push/ops ]] || fail "there is no state of a push to purge"
  rm -r "$monitors"
  apt-get "${apt_options[@]}" purge vmeventd vmevents vmeventd-doc >/dev/null
  [[ ! -e /proc/$pid ]] || fail "the daemon still runs"
  [[ -z $(systemctl list-units --plain --no-legend 'vmevents-push@*') ]] || fail "a push still runs"
  rm -r /etc/systemd/system/vmeventd.service.d
  check_purged
}

check_nothing_configured
check_beside_kvmd
check_ganeti_without_units
check_ganeti_with_units
check_service
check_shutdown_file
check_drop_in
check_signals
check_push
check_web
check_shutdown_of_the_host
check_user_instance
check_watchdog
check_guests
check_guests_while_away
check_shutdown_of_the_host_with_libvirt
check_formats
check_purge
step "all well"
