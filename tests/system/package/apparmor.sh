#!/bin/bash
# The service under its AppArmor profile, enforced by a kernel that has AppArmor: does all its work, and no
# more.
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

step "the profile"
aa-enabled --quiet || fail "this kernel has no AppArmor"
# The package was installed where no kernel could load it; at boot the service apparmor does.
wait_for "the profile is loaded" grep -x 'vmeventd (enforce)' /sys/kernel/security/apparmor/profiles

step "the service is confined"
echo 'watch = ["/var/run/ganeti/kvm-hypervisor/ctrl:*.kvmd"]' >>/etc/vmeventd/vmeventd.conf
systemctl restart vmeventd.service
pid=$(systemctl show --value -p MainPID vmeventd.service)
same "the process" "$(cat "/proc/$pid/attr/current")" "vmeventd (enforce)"

step "a second socket, as operations.md says"
echo 'd /run/vmeventd-all 0755 vmeventd vmeventd' >/etc/tmpfiles.d/vmeventd-all.conf
systemd-tmpfiles --create /etc/tmpfiles.d/vmeventd-all.conf
mkdir -p /etc/systemd/system/vmeventd.service.d
printf '[Service]\nReadWritePaths=/run/vmeventd-all\n' >/etc/systemd/system/vmeventd.service.d/all.conf
systemctl daemon-reload
printf 'listen = ["%s", "%s"]\n' unix:/run/vmeventd/vmeventd.sock \
  unix:/run/vmeventd-all/vmeventd.sock,role=reader,mode=0666 >>/etc/vmeventd/vmeventd.conf
systemctl restart vmeventd.service
wait_for "the second socket answers" vmevents --server unix:/run/vmeventd-all/vmeventd.sock health listen
same "what was denied" "$(denied)" ""

step "a VM"
start_qemu "$monitors" web1
wait_for "the VM is followed" vm_says web1 RUNNING
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
