# shellcheck shell=bash
# For what runs within the clean Debian.
set -euo pipefail

readonly unit=/lib/systemd/system/vmeventd.service
# shellcheck disable=SC2034  # those who source this use it
readonly monitors=/run/ganeti/kvm-hypervisor/ctrl
readonly nobody=65534
readonly apt_options=(-qq -y --no-install-recommends -o Dpkg::Use-Pty=0)
cd /root

step() { printf '==> %s\n' "$*"; }

# daemon_log is the test's own.
fail() {
  printf 'FAILED: %s\n' "$*" >&2
  echo "the daemon's log:" >&2
  daemon_log >&2
  exit 1
}

same() { [[ $2 == "$3" ]] || fail "$1: '$2', not '$3'"; }

# wait_for WHAT COMMAND...
wait_for() {
  local what=$1 deadline=$((SECONDS + 30))
  shift
  until "$@" >/root/waited 2>&1; do
    ((SECONDS < deadline)) || { cat /root/waited >&2; fail "in vain: $what"; }
    sleep 0.05
  done
}

# Without network where the packages are in the cache. The lists that came with the bare system may
# name some that the mirror has replaced since.
install() {
  apt-get "${apt_options[@]}" install "$1" >/root/apt.log 2>&1 && return
  apt-get -qq update || fail "apt-get update"
  apt-get "${apt_options[@]}" install "$1" >/root/apt.log 2>&1 && return
  cat /root/apt.log >&2
  fail "apt-get install $1"
}

# newer.deb: differs from vmeventd.deb in nothing but its version.
make_newer() {
  dpkg-deb -R vmeventd.deb newer
  sed -i '/^Version:/s/$/+newer/' newer/DEBIAN/control
  dpkg-deb -Zgzip -z1 -b newer newer.deb >/dev/null
  rm -r newer
}

# The value of a setting of the unit.
setting() { sed -n "s/^$1=//p" "$unit" | tail -n 1; }

# Whether `vmevents vm NAME` has the text.
vm_says() { vmevents --color never vm "$1" | tee /dev/stderr | grep -q "$2"; }

# start_qemu DIRECTORY NAME: a VM of another user, whose monitor only that user may open, in root's
# directory. Sets qemu to its pid.
start_qemu() {
  mkdir -p "$1"
  ./fake_qemu.pl "$1/$2.kvmd" "$nobody" &
  # shellcheck disable=SC2034  # the caller's
  qemu=$!
  wait_for "the monitor is there" test -S "$1/$2.kvmd"
}

check_purged() {
  local left
  left=$(find / -xdev \( -path /root -o -path /home -o -path /proc -o -path /var/cache \) -prune \
    -o \( -iname '*vmevent*' -o -path '/run/ganeti*' \) -print)
  same "left after purge" "$left" ""
  getent passwd vmeventd >/dev/null || fail "the user is gone: its number may become another's"
}
