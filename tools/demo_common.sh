# shellcheck shell=bash disable=SC2154,SC2034
# What the demos share. The script that sources it, with BIN_DIRECTORY and GUEST_DIRECTORY as arguments, has
# set `demo`, its name, and `patience`, the seconds for any one step on a slow machine.

[[ $# -eq 2 ]] || { echo "usage: $0 BIN_DIRECTORY GUEST_DIRECTORY" >&2; exit 2; }
bin=$(cd "$1" && pwd)
guest=$(cd "$2" && pwd)
dir=$(mktemp -d "/tmp/vmeventd-$demo.XXXXXX")
readonly bin guest dir

declare -A qemu serial monitor  # by guest: the process, and descriptors that lead there
declare -A server               # other processes that are not jobs of this shell
bold='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' plain=$'\e[0m'
fi

say() { printf '%s== %s%s\n' "$bold" "$*" "$plain"; }

fail() {
  echo "$demo: $*" >&2
  tail -n 5 "$dir"/*.log >&2 || true
  exit 1
}

# Ends everything that was started.
clean_up() {
  trap - EXIT INT TERM HUP
  local pids
  pids="$(jobs -p) ${qemu[*]} ${server[*]}"
  # shellcheck disable=SC2086  # one word a process
  kill -KILL $pids 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Runs in the background and is waited for, so that Ctrl-C works at once.
vmevents() {
  timeout "$patience" "$bin/vmevents" "$@" &
  wait $!
}

# boot VMS_DIRECTORY NAME [QEMU ARGUMENT...]: boots a guest with its monitor there, and waits for it.
boot() {
  local vms=$1 name=$2 line output serial_in monitor_in
  shift 2
  mkfifo "$dir/$name."{serial,monitor}.{in,out}
  exec {serial_in}<>"$dir/$name.serial.in" {output}<>"$dir/$name.serial.out" \
    {monitor_in}<>"$dir/$name.monitor.in"
  qemu-system-x86_64 -name "$name" -accel tcg -machine pc -m 192 -nodefaults -no-user-config \
    -display none -kernel "$guest/vmlinux" -initrd "$guest/initrd" \
    -append "console=ttyS0 quiet nokaslr mitigations=off no_timer_check" \
    -serial "pipe:$dir/$name.serial" -monitor "pipe:$dir/$name.monitor" \
    -qmp "unix:$vms/$name.kvmd,server=on,wait=off" "$@" >>"$dir/qemu.log" 2>&1 &
  qemu[$name]=$!
  disown "${qemu[$name]}"  # otherwise the shell prints a message at its end
  serial[$name]=$serial_in
  monitor[$name]=$monitor_in
  until [[ ${line:-} == *GUEST-READY* ]]; do
    read -r -t "$patience" -u "$output" line || fail "$name does not boot"
  done
}
