# shellcheck shell=bash
# For what runs within the clean Debian.
set -euo pipefail

readonly unit=/usr/lib/systemd/system/vmeventd.service
# shellcheck disable=SC2034  # those who source this use it
readonly push_unit=/usr/lib/systemd/system/vmevents-push@.service
# shellcheck disable=SC2034  # the same
readonly web_unit=/usr/lib/systemd/system/vmevents-web.service
# shellcheck disable=SC2034  # the same
readonly monitors=/run/ganeti/kvm-hypervisor/ctrl
readonly nobody=65534
readonly apt_options=(-qq -y --no-install-recommends -o Dpkg::Use-Pty=0)
readonly debs=(./vmeventd.deb ./vmevents.deb ./vmeventd-doc.deb)
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

# wait_for WHAT COMMAND...: for 180 s, or `patience`.
wait_for() {
  local what=$1 deadline=$((SECONDS + ${patience:-180}))
  shift
  until "$@" >/root/waited 2>&1; do
    ((SECONDS < deadline)) || { cat /root/waited >&2; fail "in vain: $what"; }
    sleep 0.05
  done
}

# install PACKAGE...: without network where the packages are in the cache. The lists that came with the
# bare system may name some that the mirror has replaced since.
install() {
  apt-get "${apt_options[@]}" --allow-downgrades install "$@" >/root/apt.log 2>&1 && return
  apt-get -qq update || fail "apt-get update"
  apt-get "${apt_options[@]}" --allow-downgrades install "$@" >/root/apt.log 2>&1 && return
  cat /root/apt.log >&2
  fail "apt-get install $*"
}

build_deb() { dpkg-deb -Zgzip -z1 -b "$1" "$2" >/dev/null; }

# newer/: differs from this directory's packages in nothing but the version.
make_newer() {
  local deb
  mkdir -p newer
  for deb in "${debs[@]}"; do
    dpkg-deb -R "$deb" unpacked
    sed -i -E '/^Version:/s/$/+newer/; s/\(= ([^)]*)\)/(= \1+newer)/' unpacked/DEBIAN/control
    build_deb unpacked "newer/${deb#./}"
    rm -r unpacked
  done
}
# shellcheck disable=SC2034  # those who source this use it
readonly newer=(./newer/vmeventd.deb ./newer/vmevents.deb ./newer/vmeventd-doc.deb)

# The value of a setting of the unit.
setting() { sed -n "s/^$1=//p" "$unit" | tail -n 1; }

# Whether `vmevents why NAME` has the text.
vm_says() { vmevents --color never vm "$1" | tee /dev/stderr | grep -q "$2"; }

# follow N [PAGE HEADING]: runs the Nth block of commands below a heading, as it is written there.
follow() {
  local commands page=/usr/share/doc/vmeventd/${2:-connect.md}
  commands=$(awk -v wanted="$1" -v heading="## ${3:-Ganeti}" '/^## / {here = $0 == heading}
    /^ *```sh$/ {n += here; on = here; next} /^ *```$/ {on = 0}
    on && n == wanted' "$page")
  [[ -n $commands ]] || fail "$page has no block $1"
  printf '%s\n' "$commands"
  bash -e -c "$commands" || fail "the block $1 of $page"
}

# start_qemu DIRECTORY NAME [END]: a VM of another user, whose monitor only that user may open, in root's
# directory. Sets qemu to its pid.
start_qemu() {
  mkdir -p "$1"
  ./fake_qemu.pl "$1/$2.kvmd" "$nobody" "${3:-}" &
  # shellcheck disable=SC2034  # the caller's
  qemu=$!
  wait_for "the monitor is there" test -S "$1/$2.kvmd"
}

# boot_sector obeys|deaf|poweroff|panic|reset: a guest that writes a byte to the serial line. Then the first waits for the
# power button and powers the machine off, the second does nothing; the others wait for a byte from the serial line, and
# do what they are named. PM1a's registers are at 0x600 with QEMU's firmware, pvpanic's is at 0x505.
boot_sector() {
  local code=(FA BA 02 06 B8 00 01 EF BA F8 03 B0 21 EE) # cli; enable the power button; say '!'
  local power_off=(BA 04 06 B8 00 20 EF) read_serial=(BA FD 03 EC A8 01 74 FB)
  case $1 in
    obeys) code+=(BA 00 06 ED F6 C4 01 74 F7 "${power_off[@]}") ;;
    deaf) ;;
    poweroff) code+=("${read_serial[@]}" "${power_off[@]}") ;;
    panic) code+=("${read_serial[@]}" BA 05 05 B0 01 EE) ;;
    reset) code+=("${read_serial[@]}" BA F9 0C B0 06 EE) ;;
  esac
  code+=(EB FE)
  # shellcheck disable=SC2059  # the format is the code
  printf "$(printf '\\x%s' "${code[@]}")"
  head -c $((510 - ${#code[@]})) /dev/zero
  printf '\x55\xAA'
}

check_purged() {
  local left
  left=$(find / -xdev \( -path /root -o -path /home -o -path /proc -o -path /var/cache \) -prune \
    -o \( -iname '*vmevent*' -o -path '/run/ganeti*' \) -print)
  same "left after purge" "$left" ""
  getent passwd vmeventd >/dev/null || fail "the user is gone: its number may become another's"
}
