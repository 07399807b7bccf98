#!/usr/bin/env bash
# A manager of VMs as it really runs, together with vmeventd's packages: in a system that systemd-nspawn boots, or a virtual
# machine with Debian's own kernel. Its checks follow the pages by the commands that stand there.
#
#   run.sh MANAGER PACKAGE_DIR GUEST_DIR CACHE_DIR
#
# MANAGER.sh has all that is the manager's: on this machine `packages`, `backports` and prepare, in the system check. With
# machine=yes the system is a virtual machine, whose kernel shows who sends a signal; `release` is another Debian. `second`
# is the host name of a second system, which runs no checks: eth0 of the first is 10.77.0.1, and 10.77.0.2 that of the second.
# CACHE_DIR keeps the bare system with the manager's packages, and the result, MANAGER.json. All mounts are of a mount
# namespace, and all processes of a PID namespace, that end with this script, however it ends.
set -euo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
manager=$1
package_dir=$(readlink -f "$2")
guest=$(readlink -f "$3")
cache=$4
source=$(readlink -f "$here/../../../..")
readonly here manager package_dir guest source
# shellcheck source=tests/support/nspawn.sh
source "$source/tests/support/nspawn.sh"
[[ -f $here/$manager.sh && $manager != *common ]] || { echo "$0: there is no manager $manager" >&2; exit 2; }

if [[ ${VMEVENTD_IN_NAMESPACE:-} != yes ]]; then
  ((EUID == 0)) || { echo "$0: must be root" >&2; exit 1; }
  mkdir -p "$cache/archives/partial"
  exec 9>"$cache/lock"
  flock 9
  VMEVENTD_IN_NAMESPACE=yes exec unshare --mount --propagation private --pid --fork --kill-child \
    -- "$0" "$manager" "$package_dir" "$guest" "$(readlink -f "$cache")"
fi

mount -t proc proc /proc
# shellcheck source=tests/system/managers/real/ganeti.sh
source "$here/$manager.sh"
codename=${release:-$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)}
readonly base=$cache/$manager-$codename result=$cache/$manager.json

in_chroot() {
  local root=$1
  shift
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive HOME=/root \
    chroot "$root" "$@"
}

# The bare system with the manager's packages, of the release for which vmeventd's packages were built; a week old at
# most. With backports=yes the manager's packages are of the backports. `selections` answers debconf.
make_base() {
  local made_of="${packages[*]} ${backports:-}"
  [[ -z $(find "$base" -maxdepth 0 -mtime -7 2>/dev/null) || $(<"$base/made_of") != "$made_of" ]] || return 0
  echo "making $base"
  rm -rf "$base" "$base.new"
  "$source/tools/make_debian.sh" "$codename" "$base.new" --skip=cleanup/apt/lists \
    --include="systemd-sysv,dbus,procps,iproute2,python3${machine:+,linux-image-amd64,initramfs-tools,kmod,udev}"
  mount -t proc proc "$base.new/proc"
  mount --bind "$cache/archives" "$base.new/var/cache/apt/archives"
  cp /etc/resolv.conf /etc/hosts "$base.new/etc/"
  in_chroot "$base.new" debconf-set-selections <<<"${selections:-}"
  local options=(-q -y --no-install-recommends)
  if [[ ${backports:-} == yes ]]; then
    sed -n "s/ $codename / $codename-backports /p" "$base.new/etc/apt/sources.list" \
      >"$base.new/etc/apt/sources.list.d/backports.list"
    in_chroot "$base.new" apt-get -q update
    options+=(-t "$codename-backports")
  fi
  in_chroot "$base.new" apt-get "${options[@]}" install "${packages[@]}"
  umount "$base.new/proc" "$base.new/var/cache/apt/archives"
  echo "$made_of" >"$base.new/made_of"
  mv "$base.new" "$base"
}

# A copy that is gone with this script: what the checks write is in memory.
begin_root() {
  root=$cache/root
  mkdir -p "$root" "$cache/memory"
  mount -t tmpfs -o mode=0755,size=4g none "$cache/memory"
  mkdir "$cache"/memory/{upper,work}
  mount -t overlay -o "lowerdir=$base,upperdir=$cache/memory/upper,workdir=$cache/memory/work" none "$root"
  cp /etc/resolv.conf /etc/hosts "$root/etc/"
  echo "${hostname:-node1}" >"$root/etc/hostname"
  local package
  for package in vmeventd vmevents vmeventd-doc; do
    cp "$package_dir/$package"_*.deb "$root/root/$package.deb"
  done
  cp "$source/tests/system/package/inside.sh" "$here"/*.sh "$root/root/"
}

install_vmeventd() {
  mount -t proc proc "$root/proc"
  mount --bind "$cache/archives" "$root/var/cache/apt/archives"
  # shellcheck disable=SC2016  # for that shell
  in_chroot "$root" bash -c 'source /root/inside.sh; daemon_log() { :; }; install "${debs[@]}"'
  umount "$root/proc" "$root/var/cache/apt/archives"
}

# The system runs the checks when it is booted, and powers itself off.
add_checks() {
  cat >"$root/etc/systemd/system/checks.service" <<UNIT
[Unit]
After=multi-user.target
[Service]
Type=oneshot
Environment=HOME=/root LC_ALL=C.UTF-8 TERM=dumb MANAGER=$manager
StandardOutput=$1
StandardError=inherit
ExecStart=/bin/bash /root/common.sh
ExecStart=/bin/touch /root/passed
ExecStopPost=/bin/systemctl --force poweroff
[Install]
WantedBy=graphical.target
UNIT
  mkdir -p "$root/etc/systemd/system/graphical.target.wants"
  ln -s ../checks.service "$root/etc/systemd/system/graphical.target.wants/"
  ln -sf /lib/systemd/system/graphical.target "$root/etc/systemd/system/default.target"
}

# nspawn ROOT LOG OPTION...
nspawn() {
  local system=$1 log=$2
  shift 2
  exec timeout --signal=KILL "${timeout:-1800}" systemd-nspawn --quiet --directory="$system" --register=no --keep-unit "$@" \
    --bind-ro="$guest:/root/guest" --bind=/dev/net/tun --capability=all \
    --system-call-filter='bpf perf_event_open pidfd_open pidfd_getfd' --resolv-conf=off --timezone=off --console=pipe \
    /lib/systemd/systemd </dev/null >"$log" 2>&1
}

# The second system, as the first is now, and the network of both.
boot_second() {
  local memory=$cache/memory node
  mkdir -p "$root-second" "$memory/work-second"
  cp -a "$memory"/upper{,-second}
  mount -t overlay -o "lowerdir=$base,upperdir=$memory/upper-second,workdir=$memory/work-second" none "$root-second"
  echo "$second" >"$root-second/etc/hostname"
  ip netns add node1
  ip netns add node2
  ip link add eth0 netns node1 type veth peer name eth0 netns node2
  for node in 1 2; do
    ip -n "node$node" address add "10.77.0.$node/24" dev eth0
    ip -n "node$node" link set eth0 up
  done
  (
    enter_cgroup "$manager-nspawn"
    nspawn "$root-second" "$cache/$manager-second.log" --network-namespace-path=/run/netns/node2
  ) &
}

# What systemd-nspawn leaves in /run is left here.
boot_container() {
  local before network=--private-network other=
  before=$(nspawn_cgroups)
  mount -t tmpfs none /run
  if [[ -n ${second:-} ]]; then
    boot_second
    other=$!
    network=--network-namespace-path=/run/netns/node1
  fi
  add_checks append:/root/output
  : >"$root/root/output"
  nspawn "$root" "$cache/$manager.log" "$network" &
  local nspawn=$!
  tail --pid="$nspawn" -n +1 -f "$root/root/output" &
  wait "$nspawn" || true
  [[ -z $other ]] || kill "$other"
  wait
  remove_nspawn_cgroups "$before"
  [[ -f $root/root/passed ]] || { tail -n 20 "$cache/$manager.log" >&2; exit 1; }
  cp "$root/root/result.json" "$result"
}

# On a disk that is removed afterwards. Without KVM, which few machines of tests have.
boot_machine() {
  add_checks $'tty\nTTYPath=/dev/ttyS0'
  ln -s /dev/null "$root/etc/systemd/system/serial-getty@ttyS0.service"  # it hangs up who has the terminal
  local disk=$cache/$manager.disk log=$cache/$manager.log
  rm -f "$disk"
  truncate -s 8G "$disk"
  : >"$log"
  mke2fs -q -t ext4 -F -d "$root" "$disk"
  timeout --signal=KILL "${timeout:-2400}" qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 3072 -nodefaults -no-reboot \
    -display none -serial "file:$log" -drive "file=$disk,format=raw,if=virtio,cache=unsafe" \
    -kernel "$(echo "$root"/boot/vmlinuz-*)" -initrd "$(echo "$root"/boot/initrd.img-*)" \
    -append 'root=/dev/vda rw console=ttyS0 panic=-1 quiet' </dev/null &
  local machine=$!
  tail --pid="$machine" -n +1 -f "$log" &
  wait "$machine" || true
  wait
  debugfs -R 'cat /root/result.json' "$disk" >"$result" 2>/dev/null
  local passed
  passed=$(debugfs -R 'stat /root/passed' "$disk" 2>/dev/null)
  rm "$disk"
  [[ $passed == *Inode:* ]] || { rm -f "$result"; exit 1; }
}

rm -f "$result"
make_base
begin_root
install_vmeventd
prepare "$root"
if [[ ${machine:-} == yes ]]; then boot_machine; else boot_container; fi
cat "$result"
