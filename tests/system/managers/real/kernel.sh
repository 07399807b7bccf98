# shellcheck shell=bash disable=SC2034,SC2154
# Debian 13's own kernel, systemd, AppArmor and libvirt, with vmeventd's packages that were built there: how domains and
# plain QEMUs end, and who ended them.
packages=(libvirt-daemon-system libvirt-clients libvirt-daemon-driver-qemu qemu-system-x86 socat apparmor polkitd)
release=trixie
machine=yes

prepare() { :; }

serial_of() { echo "/var/log/libvirt/qemu/$1-serial.log"; }

# domain NAME GUEST: a domain of libvirt whose guest has begun.
domain() {
  local name=$1
  boot_sector "$2" >"/var/lib/libvirt/images/$2.raw"
  cat >/root/domain.xml <<XML
<domain type='qemu'><name>$name</name><memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>
<features><acpi/></features><on_reboot>destroy</on_reboot><on_crash>destroy</on_crash>
<devices><disk type='file'><driver name='qemu' type='raw'/><source file='/var/lib/libvirt/images/$2.raw'/><target dev='hda'/>
</disk><serial type='pty'><log file='$(serial_of "$name")'/></serial><panic model='isa'/>
<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>
XML
  virsh -q define /root/domain.xml
  virsh -q start "$name"
  wait_for "$name's guest has begun" test -s "$(serial_of "$name")"
  followed "$name"
}

# act NAME: has the domain's guest do what it waits for. QEMU reads a terminal only while somebody has it open.
act() {
  local terminal
  exec {terminal}>"$(virsh ttyconsole "$1")"
  echo x >&"$terminal"
}

# vm NAME GUEST: a plain QEMU as a unit, whose guest has begun.
vm() {
  boot_sector "$2" >"/srv/$2.disk"
  mkdir -p "/run/vm-$1"
  systemd-run --quiet --unit="vm-$1" qemu-system-x86_64 -name "$1" -nodefaults -display none -m 16 -device pvpanic \
    -drive "file=/srv/$2.disk,format=raw,snapshot=on" -monitor "unix:/run/vm-$1/hmp,server=on,wait=off" \
    -chardev "socket,id=serial,path=/run/vm-$1/serial,server=on,wait=off,logfile=/run/vm-$1/output" -serial chardev:serial \
    -chardev "socket,id=events,path=/run/qemu/$1.qmp,server=on,wait=off" -mon chardev=events,mode=control
  wait_for "$1's guest has begun" test -s "/run/vm-$1/output"
  followed "$1"
}

qemu_pid() { pgrep -f -- "-name (guest=)?$1[, ]"; }

check_unit() {
  step "no order of the unit contradicts a slice's"
  printf '[Service]\nSlice=machine.slice\nExecStart=/bin/true\n' >/root/vm.service
  printf '[Unit]\nRequires=basic.target\nWants=vmeventd.service vm.service\n' >/root/host.target
  local output
  output=$(systemd-analyze verify --man=no --recursive-errors=one /root/host.target /root/vm.service \
    /usr/lib/systemd/system/vmeventd.service 2>&1 || true)
  [[ $output != *'ordering cycle'* ]] || fail "$output"
  ! journalctl --no-pager -q -b | grep 'ordering cycle' || fail "systemd broke a cycle at boot"
  passed "systemd $(systemctl --version | awk 'NR == 1 {print $2}'): no ordering cycle"
}

check_domains() {
  step "domains of libvirt"
  domain user poweroff
  act user
  ended user USER GUEST_POWEROFF "a domain's poweroff"
  domain again reset
  act again
  ended again USER GUEST_REBOOT_EXIT "a domain's reboot with on_reboot destroy"
  domain panics panic
  act panics
  ended panics CRASH GUEST_PANIC "a domain's panic"
  domain shut obeys
  virsh -q shutdown shut
  ended shut ADMIN HOST_POWERDOWN "virsh shutdown"
  domain destroyed deaf
  virsh -q destroy destroyed
  ended destroyed ADMIN HOST_DESTROY "virsh destroy"
  domain killed deaf
  kill -KILL "$(qemu_pid killed)"
  ended killed ADMIN HOST_KILL "kill -9 of a domain"
  why_says killed "sent QEMU SIGKILL"
  domain crashed deaf
  kill -SEGV "$(qemu_pid crashed)"
  ended crashed CRASH QEMU_CRASHED "SIGSEGV of a domain"
}

check_plain() {
  step "plain QEMU"
  vm p-user poweroff
  echo x | socat -u - UNIX-CONNECT:/run/vm-p-user/serial
  ended p-user USER GUEST_POWEROFF "a guest's poweroff"
  vm p-button obeys
  echo system_powerdown | socat - UNIX-CONNECT:/run/vm-p-button/hmp >/dev/null
  ended p-button ADMIN HOST_POWERDOWN "the power button"
  vm p-killed deaf
  kill -KILL "$(qemu_pid p-killed)"
  ended p-killed ADMIN HOST_KILL "kill -9"
  why_says p-killed "sent QEMU SIGKILL"
  vm p-asked deaf
  systemctl stop vm-p-asked
  ended p-asked ADMIN HOST_SIGNAL "systemctl stop"
  vm p-crashed deaf
  kill -SEGV "$(qemu_pid p-crashed)"
  ended p-crashed CRASH QEMU_CRASHED "SIGSEGV"
}

check_restart() {
  step "ends while vmeventd restarts"
  domain lives deaf
  vm p-lives deaf
  systemctl restart vmeventd
  followed lives
  followed p-lives
  kill -KILL "$(qemu_pid p-lives)"
  ended p-lives ADMIN HOST_KILL "kill -9 after a restart of vmeventd"
  virsh -q destroy lives
  ended lives ADMIN HOST_DESTROY "virsh destroy after a restart of vmeventd"
}

check() {
  uname -a
  aa-enabled --quiet || fail "this kernel has no AppArmor"
  check_unit
  mkdir -p /run/qemu
  printf '%s\n' 'watch = ["/run/qemu:*.qmp"]' 'libvirt = ["qemu:///system"]' >/etc/vmeventd/vmeventd.conf
  systemctl enable --now vmeventd
  wait_for "libvirt answers" virsh -q list
  check_domains
  check_plain
  check_restart
  ! journalctl --no-pager -q -k --grep 'apparmor="DENIED".*profile="vmeventd"' || fail "AppArmor has denied something"
  passed "AppArmor denied nothing"
  write_result libvirt-daemon-system "Debian 13's libvirt" qemu-system-x86
}
