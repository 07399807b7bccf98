#!/usr/bin/env bash
# README's commands on a bare Debian, as they are written there: in chroots that have nothing but apt, and the sources.
#
#   bare.sh RELEASE [install|begin]...
#
# RELEASE is bookworm or trixie. `install` builds and installs the packages as in README's "Install", from an unpacked
# archive, then from a clone; `begin` runs README's first commands in a clone. Without one: both. Needs root and
# mmdebstrap. build/bare keeps the bare system and what apt has downloaded; the compiler's cache is this machine's.
# All mounts are of a mount namespace, and all processes of a PID namespace, that end with this script.
set -euo pipefail

repository=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
readonly repository release=$1 cache=$repository/build/bare/$1
readonly root=$cache/root
shift
(($# > 0)) || set -- install begin

if [[ ${VMEVENTD_IN_NAMESPACE:-} != yes ]]; then
  ((EUID == 0)) || { echo "$0: must be root" >&2; exit 1; }
  mkdir -p "$cache/archives/partial"
  exec 9>"$cache/lock"
  flock 9
  VMEVENTD_IN_NAMESPACE=yes exec unshare --mount --propagation private --pid --fork --kill-child -- "$0" "$release" "$@"
fi

mount -t proc proc /proc
ccache=${CCACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ccache}
mkdir -p "$ccache"
if [[ -z $(find "$cache/base.tar" -mtime -7 2>/dev/null) ]]; then
  echo "making a bare $release"
  TMPDIR=$cache "$repository/tools/make_debian.sh" "$release" "$cache/base.new.tar"
  mv "$cache/base.new.tar" "$cache/base.tar"
fi

# block HEADING: the first block of commands below the line of README.md that begins with this text, without comments.
block() {
  awk -v heading="$1" 'index($0, heading) == 1 {here = 1} /^```$/ {if (here && on) exit; on = here; next} on' \
    "$repository/README.md" | sed 's/ *#.*//'
}

# begin_root archive|clone: a bare system with the sources in this repository's place.
begin_root() {
  rm -rf --one-file-system "$root"
  mkdir -p "$root"
  tar -x -f "$cache/base.tar" -C "$root"
  cp /etc/resolv.conf /etc/hosts "$root/etc/"
  mkdir -p "$root$repository" "$root/ccache"
  git -c safe.directory="$repository" -C "$repository" ls-files -z --cached --others --exclude-standard |
    (cd "$repository" && while IFS= read -r -d '' file; do
      [[ ! -e $file ]] || printf '%s\0' "$file"
    done) | tar -c -C "$repository" --null -T - | tar -x --no-same-owner -C "$root$repository"
  if [[ $1 == clone ]]; then
    cp -r "$repository/.git" "$root$repository/"
  fi
  mount --bind "$root" "$root"  # as "/" of a system is a mount, which tests need to mount privately
  mount --rbind /dev "$root/dev"
  mount --rbind /sys "$root/sys"
  mount -t proc proc "$root/proc"
  mount -t tmpfs none "$root/run"
  mount -t tmpfs none "$root/tmp"
  mount --bind "$ccache" "$root/ccache"
  mount --bind "$cache/archives" "$root/var/cache/apt/archives"
}

end_root() {
  umount --recursive "$root"
  rm -rf --one-file-system "$root"
}

# run_here COMMANDS: each line in the directory of the sources.
run_here() {
  printf '    %s\n' "${1//$'\n'/$'\n    '}"
  # shellcheck disable=SC2016  # for that shell
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root DEBIAN_FRONTEND=noninteractive CCACHE_DIR=/ccache \
    chroot "$root" bash -c 'cd "$1" && exec bash -e -c "$2"' bash "$repository" "$1" </dev/null
}

# Answers apt's question as README's reader would; systemd is not booted here.
install_packages() {
  local commands
  commands=$(block '## Install' | sed '/^systemctl/,$d; s/^apt install/apt-get -y install/')
  [[ $commands == './dev package'$'\n''apt-get -y install ./build/'* ]] || { echo "README.md: $commands" >&2; exit 1; }
  run_here "$commands"
  run_here 'vmevents --version; vmeventd --check-config --config /etc/vmeventd/vmeventd.conf'
}

for what in "$@"; do
  case $what in
    install)
      for sources in archive clone; do
        printf '==> %s, packages of the %s\n' "$release" "$sources"
        begin_root "$sources"
        install_packages
        end_root
      done
      ;;
    begin)
      printf '==> %s, the first commands\n' "$release"
      begin_root clone
      run_here "$(block '# vmeventd')"
      end_root
      ;;
    *) echo "$0: neither install nor begin: $what" >&2; exit 2 ;;
  esac
done
printf '==> %s: all well\n' "$release"
