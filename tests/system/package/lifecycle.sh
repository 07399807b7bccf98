#!/bin/bash
# The life of the packages on a bare Debian, in /root/*.deb: installed, checked, run as its unit
# runs it, upgraded, removed, purged. Runs as the first process of a PID namespace, in a chroot.
# shellcheck source=tests/system/package/inside.sh
source /root/inside.sh
readonly log=/root/vmeventd.log
# shellcheck disable=SC2317  # fail calls it
daemon_log() { cat "$log"; }

# As setpriv writes a set of capabilities: "CAP_A CAP_B" is -all,+a,+b.
capability_set() {
  local capability set=-all
  for capability in $1; do
    capability=${capability,,}
    set+=,+${capability#cap_}
  done
  echo "$set"
}

# start CAPABILITIES: the daemon as the unit starts it, with these. Sets daemon to its pid.
start() {
  local capabilities environment command
  capabilities=$(capability_set "$1")
  read -ra environment < <(setting Environment | sed 's|%t|/run|g; s|%S|/var/lib|g')
  read -ra command < <(setting ExecStart)
  (
    umask "$(setting UMask)"
    exec env -i "${environment[@]}" setpriv --reuid="$(setting User)" --regid="$(setting Group)" \
      --init-groups --no-new-privs --bounding-set="$capabilities" --inh-caps="$capabilities" \
      --ambient-caps="$capabilities" "${command[@]}"
  ) >"$log" 2>&1 &
  daemon=$!
  wait_for "the daemon answers" vmevents info
}

stop() {
  kill -TERM "$daemon"
  wait "$daemon" || fail "the daemon ended with $?"
}

journal_id() { vmevents -o json info | grep -o '"journal_id":"[^"]*"'; }

check_files() {
  step "files"
  local file files
  files=$(dpkg -L vmeventd vmevents vmeventd-doc)
  for file in /usr/sbin/vmeventd /usr/bin/vmevents "$unit" "$push_unit" "$web_unit" /usr/lib/systemd/user/vmeventd.service \
    /usr/lib/sysusers.d/vmeventd.conf /usr/lib/tmpfiles.d/vmeventd.conf \
    /etc/vmeventd/vmeventd.conf /etc/apparmor.d/vmeventd /usr/share/man/man8/vmeventd.8.gz \
    /usr/share/man/man1/vmevents.1.gz /usr/share/bash-completion/completions/vmeventd \
    /usr/share/bash-completion/completions/vmevents \
    /usr/share/zsh/vendor-completions/_vmeventd /usr/share/zsh/vendor-completions/_vmevents \
    /usr/share/fish/vendor_completions.d/vmevents.fish \
    /usr/share/doc/vmeventd/copyright /usr/share/doc/vmeventd/changelog.Debian.gz \
    /usr/share/doc/vmeventd/proto/vmeventd/v1/vm_events.proto \
    /usr/share/doc/vmeventd/examples/kubernetes/base/daemonset.yaml \
    /usr/share/doc/vmevents/examples/python/follow_vms.py \
    /usr/share/doc/vmeventd/vmeventd.rules.yml /usr/share/doc/vmeventd/vmeventd.dashboard.json \
    /usr/share/doc/vmeventd/vmeventd-runbooks.html; do
    grep -qx "$file" <<<"$files" || fail "no package has $file"
  done
  # What the files of the package send their readers to, and no path of the source's tree.
  local named
  for file in "$unit" "$push_unit" "$web_unit" /usr/lib/systemd/user/vmeventd.service /etc/vmeventd/vmeventd.conf \
    /etc/apparmor.d/vmeventd \
    /var/lib/dpkg/info/vmeventd.postinst; do
    while read -r named; do
      [[ -f $named ]] || fail "$file names $named, which no package has"
    done < <(grep -oE '/usr/share/[a-z/.-]*[a-z]' "$file")
    ! grep -E '(^|[^/a-z])docs/' "$file" || fail "$file names a file of the source's tree"
  done
  for file in /usr/share/doc/vmeventd/*.md; do
    while read -r named; do
      [[ -e /usr/share/doc/vmeventd/$named ]] || fail "$file links $named, which no package has"
    done < <(grep -oE '\]\([a-z./0-9A-Z@_-]+' "$file" | sed 's/](//' | grep -vx https)
  done
  same "conffiles" "$(dpkg-query -W -f '${Conffiles}' vmeventd | awk '{print $1}' | sort | xargs)" \
    "/etc/apparmor.d/vmeventd /etc/vmeventd/vmeventd.conf"
  getent passwd vmeventd | grep -q ':/usr/sbin/nologin$' || fail "no user vmeventd without a shell"
  same "/run/vmeventd" "$(stat -c '%U:%G %a' /run/vmeventd)" "vmeventd:vmeventd 750"
  same "/var/lib/vmeventd" "$(stat -c '%U:%G %a' /var/lib/vmeventd)" "vmeventd:vmeventd 700"
  same "the unit at boot, as long as nothing is configured" \
    "$(systemctl is-enabled vmeventd.service || true)" disabled
  grep -q 'vmeventd is not started: nothing is configured' /root/apt.log ||
    fail "the installation does not say why nothing is started"
  vmeventd --check-config --config /etc/vmeventd/vmeventd.conf >/dev/null ||
    fail "the conffile is not valid"
}

check_units() {
  step "units"
  local complaints
  complaints=$(systemd-analyze verify --man=no "$unit" "${push_unit/@/@ops}" "$web_unit" 2>&1
    XDG_RUNTIME_DIR=/run systemd-analyze verify --man=no --user /usr/lib/systemd/user/vmeventd.service 2>&1) || true
  same "systemd-analyze verify" "$complaints" ""
  systemd-analyze security --offline=yes --no-pager --threshold=20 "$unit" | tail -n 1
  systemd-analyze security --offline=yes --no-pager --threshold=11 "$push_unit" | tail -n 1
  systemd-analyze security --offline=yes --no-pager --threshold=11 "$web_unit" | tail -n 1
}

check_daemon() {
  step "the daemon as the unit runs it"
  start_qemu "$monitors" web1
  start "$(setting AmbientCapabilities)"
  same "the user" "$(stat -c %U "/proc/$daemon")" vmeventd
  same "the socket" "$(stat -c '%U:%G %a' /run/vmeventd/vmeventd.sock)" "vmeventd:vmeventd 660"
  same "the journal" "$(stat -c %U /var/lib/vmeventd/journal.db)" vmeventd
  setpriv --reuid="$nobody" --regid="$nobody" --groups="$(getent group vmeventd | cut -d: -f3)" \
    vmevents --server unix:/run/vmeventd/vmeventd.sock info >/dev/null ||
    fail "a member of the group is not served"
  ! setpriv --reuid="$nobody" --regid="$nobody" --clear-groups \
    vmevents --server unix:/run/vmeventd/vmeventd.sock info >/dev/null 2>&1 ||
    fail "everybody is served"
  wait_for "the VM is followed" vm_says web1 RUNNING
  stop

  step "the same without capabilities"
  start ""
  wait_for "the VM's monitor may not be opened" vm_says web1 'Permission denied'
  stop

  step "the end of the VM"
  start "$(setting AmbientCapabilities)"
  wait_for "the VM is followed" vm_says web1 RUNNING
  kill -USR1 "${qemu:?}"
  wait_for "the shutdown file" test -f "$monitors/web1.shutdown"
  wait_for "the verdict" vm_says web1 USER
  same "the shutdown file" "$(stat -c '%U %a' "$monitors/web1.shutdown")" "vmeventd 644"
  stop
}

check_python() {
  step "the Python package"
  start_qemu "$monitors" web2
  start "$(setting AmbientCapabilities)"
  wait_for "the VM is followed" vm_says web2 RUNNING
  install ./python3-vmeventd.deb sqlite3
  python3 - <<'SCRIPT' || fail "the package does not follow"
import vmeventd
import vmeventd.aio
with vmeventd.follow("unix:/run/vmeventd/vmeventd.sock") as items:
    for item in items:
        if isinstance(item, vmeventd.Snapshot):
            assert "web2" in [vm.ref.name for vm in item.vms], item
            break
SCRIPT
  python3 /usr/share/doc/vmevents/examples/python/follow_vms.py --record /root/vms.db --start oldest >/dev/null &
  local example=$!
  wait_for "the example records the VM" \
    sh -c 'sqlite3 /root/vms.db "SELECT vm FROM events" | tee /dev/stderr | grep -qx web2'
  kill "$example"
  stop
  kill "${qemu:?}"
  apt-get "${apt_options[@]}" purge python3-vmeventd >/dev/null
  [[ ! -e /usr/lib/python3/dist-packages/vmeventd ]] || fail "files are left: $(find /usr/lib/python3 -path '*vmeventd*')"
}

check_group() {
  step "a user of the group"
  useradd --create-home --groups vmeventd alice
  start "$(setting AmbientCapabilities)"
  # Without a daemon of alice's own, vmevents finds the system's.
  setpriv --reuid=alice --regid=alice --init-groups env -i HOME=/home/alice \
    XDG_RUNTIME_DIR=/home/alice /usr/bin/vmevents info >/dev/null || fail "alice is not served"
  ! setpriv --reuid="$nobody" --regid="$nobody" --clear-groups env -i \
    /usr/bin/vmevents info 2>/root/denied || fail "everybody is served"
  grep -q 'permission denied on /run/vmeventd above the socket /run/vmeventd/vmeventd.sock' /root/denied ||
    fail "a user outside the group can connect: $(cat /root/denied)"
  stop
}

# A configuration that was there before the package, as a management of configurations makes it.
check_configured() {
  step "an installation that is configured"
  apt-get "${apt_options[@]}" purge vmeventd vmevents vmeventd-doc >/dev/null
  mkdir -p /etc/vmeventd
  echo 'watch = ["/run/vms:*.qmp"]' >/etc/vmeventd/vmeventd.conf
  apt-get "${apt_options[@]}" -o Dpkg::Options::=--force-confold install "${debs[@]}" \
    >/root/apt.log 2>&1 || fail "$(cat /root/apt.log)"
  ! grep 'is not started' /root/apt.log || fail "it is configured"
  same "the unit at boot" "$(systemctl is-enabled vmeventd.service)" enabled
}

check_upgrade() {
  step "upgrade"
  echo 'log-level = "debug"' >>/etc/vmeventd/vmeventd.conf
  local before after journal
  start "$(setting AmbientCapabilities)"
  journal=$(journal_id)
  stop
  before=$(sha256sum /etc/vmeventd/vmeventd.conf)
  make_newer
  systemctl disable vmeventd.service 2>/dev/null
  install "${newer[@]}"
  [[ $(dpkg-query -W -f '${Version}' vmeventd) == *+newer ]] || fail "it was not upgraded"
  after=$(sha256sum /etc/vmeventd/vmeventd.conf)
  same "the changed conffile" "$after" "$before"
  same "the unit that was disabled" "$(systemctl is-enabled vmeventd.service || true)" disabled
  [[ -f /var/lib/vmeventd/journal.db ]] || fail "the journal is gone"
  start "$(setting AmbientCapabilities)"
  same "the journal" "$(journal_id)" "$journal"
  stop
}

check_client_alone() {
  step "the client alone"
  install ./vmevents.deb
  AUTOPKGTEST_TMP=/root tests/client || fail "tests/client"
  ! getent passwd vmeventd >/dev/null || fail "the client makes a user"
  [[ ! -e /etc/vmeventd && ! -e /usr/sbin/vmeventd ]] || fail "the client has the daemon's files"
  apt-get "${apt_options[@]}" purge vmevents >/dev/null
}

check_removal() {
  step "remove"
  apt-get "${apt_options[@]}" remove vmeventd vmevents vmeventd-doc >/dev/null
  ! [[ -e /usr/sbin/vmeventd || -e $unit ]] || fail "remove leaves programs"
  [[ -f /etc/vmeventd/vmeventd.conf && -f /var/lib/vmeventd/journal.db ]] ||
    fail "remove takes configuration or state"
  step "purge"
  rm -r "$monitors"
  apt-get "${apt_options[@]}" purge vmeventd vmevents vmeventd-doc >/dev/null
  check_purged
}

check_client_alone
step "install"
install "${debs[@]}"
check_files
check_units
check_daemon
check_python
check_group
check_configured
check_upgrade
check_removal
step "all well"
