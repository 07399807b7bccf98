#!/usr/bin/env bash
# Runs a command on Debian 13: in a chroot that has this repository in the same place, with a build/ of
# its own, and the compiler's cache of this machine.
#
#   debian13.sh COMMAND [ARGUMENT...]
#
# Needs root and mmdebstrap. build/debian13 has the system with what was installed in it, and the build
# trees; remove it to begin again. All mounts are of a mount namespace, and all processes of a PID
# namespace, that end with this script, however it ends.
set -euo pipefail

repository=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
readonly repository cache=$repository/build/debian13
readonly root=$cache/root

if [[ ${VMEVENTD_IN_NAMESPACE:-} != yes ]]; then
  ((EUID == 0)) || { echo "$0: must be root" >&2; exit 1; }
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock 9
  VMEVENTD_IN_NAMESPACE=yes exec unshare --mount --propagation private --pid --fork --kill-child -- "$0" "$@"
fi

mount -t proc proc /proc
if [[ ! -d $root ]]; then
  echo "making a Debian 13 in $root"
  rm -rf "$root.new"
  "$repository/tools/make_debian.sh" trixie "$root.new"
  mv "$root.new" "$root"
fi
cp /etc/resolv.conf /etc/hosts "$root/etc/"

ccache=${CCACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ccache}
mkdir -p "$ccache" "$cache/build" "$root/ccache"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t proc proc "$root/proc"
mount -t tmpfs none "$root/run"
mount -t tmpfs none "$root/tmp"
mount --bind "$ccache" "$root/ccache"
mkdir -p "$root$repository"
mount --bind "$repository" "$root$repository"
mount --bind "$cache/build" "$root$repository/build"
# SUDO_UID is the user to whom ./dev gives the build trees.
# shellcheck disable=SC2016  # for that shell
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root CCACHE_DIR=/ccache \
  ${CI:+"CI=$CI"} ${SUDO_UID:+"SUDO_UID=$SUDO_UID" "SUDO_GID=$SUDO_GID"} \
  chroot "$root" bash -c 'cd "$1" && shift && exec "$@"' bash "$repository" "$@"
