# shellcheck shell=bash disable=SC2034,SC2154
# Podman: vmeventd in a container, by the commands of docs/install.md; `docker` is podman's there. The image is the one
# that tools/test_image.sh --archive has built.
packages=(podman podman-docker crun uidmap dbus-user-session qemu-system-x86 socat)
machine=yes

# prepare ROOT: the image and the profile, as in a clone.
prepare() {
  local root=$1
  install -D -m 0644 "$source/deploy/container/seccomp.json" "$root/root/deploy/container/seccomp.json"
  cp "$source/build/image/vmeventd.tar" "$root/srv/vmeventd.tar"
  touch "$root/etc/containers/nodocker"
}

daemon_log() { podman logs vmeventd; }

# vm NAME GUEST [USER]: a QEMU as docs/connect.md has it, of a user's own. Its guest has begun.
vm() {
  boot_sector "$2" >"/srv/$2.disk"
  command install -d -m 0755 -o "${3:-nobody}" "/run/vm-$1"
  systemd-run --quiet --unit="vm-$1" --uid="${3:-nobody}" qemu-system-x86_64 -name "$1" -nodefaults -display none -m 16 \
    -drive "file=/srv/$2.disk,format=raw,snapshot=on" \
    -chardev "socket,id=serial,path=/run/vm-$1/serial,server=on,wait=off,logfile=/run/vm-$1/output" -serial chardev:serial \
    -chardev "socket,id=events,path=$sockets/$1.qmp,server=on,wait=off" -mon chardev=events,mode=control
  wait_for "$1's guest has begun" test -s "/run/vm-$1/output"
  followed "$1"
}

# act NAME: has its guest do what it waits for.
act() { socat -u - "UNIX-CONNECT:/run/vm-$1/serial" <<<x; }

qemu_pid() { systemctl show --value -p MainPID "vm-$1.service"; }

check_as_root() {
  sockets=/run/qemu
  step "the page's commands"
  follow 1 install.md Containers
  # In a directory that every user may write: QEMU has no privilege.
  chmod 1777 /run/qemu
  step "a user's poweroff"
  vm user poweroff
  act user
  ended user USER GUEST_POWEROFF "poweroff in the guest"
  step "kills"
  vm killed deaf
  kill -KILL "$(qemu_pid killed)"
  ended killed ADMIN HOST_KILL "kill -9"
  why_says killed "SIGKILL sent by bash"
  passed "kill -9: its sender is named"
  vm asked deaf
  kill -TERM "$(qemu_pid asked)"
  ended asked ADMIN HOST_SIGNAL "kill"
  why_says asked "SIGTERM sent by bash"
  vm crashed deaf
  kill -SEGV "$(qemu_pid crashed)"
  wait_for "it has ended" has_more_stops crashed
  vmevents --color never why crashed
  step "a restart of the container"
  vm lives deaf
  docker restart vmeventd
  followed lives
  passed "after a restart of the container: RUNNING"
}

check_without_the_profile() {
  step "without the profile"
  local command
  command=$(awk '/^docker run/ {on = 1} on {print} on && !/\\$/ {exit}' /usr/share/doc/vmeventd/install.md)
  docker rm -f vmeventd
  bash -e -c "${command/--security-opt seccomp=deploy\/container\/seccomp.json/}"
  wait_for "it says so" bash -c 'vmevents --color never info | grep -E "^signal senders *no"'
  vm hidden deaf
  kill -KILL "$(qemu_pid hidden)"
  # The cause depends on whether vmeventd still finds the exit status in /proc: nobody reports it here.
  wait_for "it has ended" has_more_stops hidden
  vmevents -o json events hidden --type stopped | grep SHUTDOWN_CLASS_UNKNOWN || fail "kill -9 without the profile: not UNKNOWN"
  passed "kill -9 without the profile: UNKNOWN"
  docker rm -f vmeventd
}

as_alice() { runuser -u alice -- env XDG_RUNTIME_DIR="/run/user/$(id -u alice)" HOME=/home/alice bash -e -c "cd; $1"; }

check_without_root() {
  step "rootless"
  useradd --create-home alice
  loginctl enable-linger alice
  wait_for "alice has a runtime directory" test -S "/run/user/$(id -u alice)/bus"
  as_alice "podman load --quiet -i /srv/vmeventd.tar"
  as_alice "$(awk '/^mkdir .*~/ {on = 1} /^```/ {on = 0} on' /usr/share/doc/vmeventd/install.md)"
  export VMEVENTS_SERVER=unix:/home/alice/vmeventd/run/vmeventd.sock
  sockets=/home/alice/qemu
  # shellcheck disable=SC2317  # fail calls it
  daemon_log() { as_alice 'podman logs vmeventd'; }
  wait_for "it serves" vmevents info
  vm own poweroff alice
  act own
  ended own USER GUEST_POWEROFF "rootless: poweroff in the guest"
  vm ownkilled deaf alice
  kill -KILL "$(qemu_pid ownkilled)"
  wait_for "it has ended" has_more_stops ownkilled
  vmevents --color never why ownkilled
  vmevents --color never info
}

check() {
  # Of the packages only the client and the pages: the daemon's has its own user for the same directories.
  apt-get "${apt_options[@]}" purge vmeventd >/dev/null
  podman load --quiet -i /srv/vmeventd.tar
  check_as_root
  check_without_the_profile
  check_without_root
  write_result podman Podman qemu-system-x86
}
