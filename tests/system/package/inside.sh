# shellcheck shell=bash
# For what runs within the clean Debian.
set -euo pipefail

readonly unit=/lib/systemd/system/vmeventd.service
# shellcheck disable=SC2034  # those who source this use it
readonly push_unit=/lib/systemd/system/vmevents-push@.service
# shellcheck disable=SC2034  # likewise
readonly web_unit=/lib/systemd/system/vmevents-web.service
# shellcheck disable=SC2034  # likewise
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

# wait_for WHAT COMMAND...
wait_for() {
  local what=$1 deadline=$((SECONDS + 180))
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

# follow N [PAGE HEADING]: runs the Nth block of commands behind a heading, as it is written there.
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

check_purged() {
  local left
  left=$(find / -xdev \( -path /root -o -path /home -o -path /proc -o -path /var/cache \) -prune \
    -o \( -iname '*vmevent*' -o -path '/run/ganeti*' \) -print)
  same "left after purge" "$left" ""
  getent passwd vmeventd >/dev/null || fail "the user is gone: its number may become another's"
}
