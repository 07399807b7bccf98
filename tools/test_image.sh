#!/usr/bin/env bash
# ./dev nightly image: builds the image of the Dockerfile and runs it next to real QEMU guests.
#
#   test_image.sh BIN_DIRECTORY GUEST_DIRECTORY LIBVIRT_CACHE WORK_DIRECTORY
#   test_image.sh --archive WORK_DIRECTORY
#
# --archive builds vmeventd's image alone, and writes it to WORK_DIRECTORY/vmeventd.tar, for the tests of engines.
# Needs root, buildah, libvirtd, mmdebstrap, runc, python3-yaml and qemu-system-x86, but no container engine: it
# makes the base image from Debian packages, builds with buildah in a chroot, and runs the result with
# runc. apt in the build uses this machine's sources, which the image does not keep. WORK_DIRECTORY
# keeps the base and the layers, so that the next run is faster.
set -euo pipefail

[[ $# -eq 4 || $# -eq 2 && $1 == --archive ]] ||
  { echo "usage: $0 BIN_DIRECTORY GUEST_DIRECTORY LIBVIRT_CACHE WORK_DIRECTORY | --archive WORK_DIRECTORY" >&2; exit 2; }
[[ $EUID -eq 0 ]] || { echo "$0: must be root" >&2; exit 1; }
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
mkdir -p "${!#}"
work=$(cd "${!#}" && pwd)
readonly root work
readonly base=localhost/vmeventd-base:latest image=localhost/vmeventd:latest
readonly libvirt_image=localhost/vmeventd-libvirt:latest client_image=localhost/vmevents:latest
readonly kubevirt_image=localhost/vmeventd-kubevirt:latest
readonly max_base_age=7  # days
export TMPDIR=$work/tmp

say() { printf '\n==> %s\n' "$*"; }

container=''
private=''

clean_up() {
  trap - EXIT INT TERM HUP
  [[ -z $container ]] || build rm "$container" >/dev/null 2>&1 || true
  rm -rf "$private" "$TMPDIR"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# buildah with separate storage.
build() {
  buildah --root "$work/storage" --runroot "$work/run" --storage-driver "$driver" \
    --log-level error "$@"
}

# overlay keeps a layer as its difference; vfs copies it whole, and works on every file system.
choose_driver() {
  local probe=$private/probe
  mkdir -p "$probe"/{lower,upper,work,merged}
  if mount -t overlay overlay "$probe/merged" \
       -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" 2>/dev/null; then
    umount "$probe/merged"
    echo overlay
  else
    echo vfs
  fi
}

# Copies this machine's apt configuration, which is bound over /etc/apt during the build.
copy_apt_configuration() {
  local certificates
  cp -aL /etc/apt "$private/apt"
  certificates=$(apt-config shell file Acquire::https::CAInfo | sed -E "s/^file='(.*)'\$/\1/")
  certificates=${certificates:-/etc/ssl/certs/ca-certificates.crt}
  if [[ -r $certificates ]]; then
    cp -L "$certificates" "$private/apt/ca-certificates.crt"
    echo 'Acquire::https::CAInfo "/etc/apt/ca-certificates.crt";' \
      >"$private/apt/apt.conf.d/zz-certificates"
  fi
  # apt's download user must be able to read them.
  chmod 755 "$private" "$private/apt"
}

make_base() {
  if [[ -n $(find "$work/base.tar" -mtime "-$max_base_age" 2>/dev/null) ]]; then
    echo "image: the base in $work is at most $max_base_age days old"
  else
    say "making the base image, a minimal Debian of this machine's release"
    apt-config dump | grep '^Acquire::' >"$private/apt.conf"
    # shellcheck disable=SC2016  # the hook's own variable
    "$root/tools/make_debian.sh" "$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" "$work/base.tar.new" \
      --variant=minbase --format=tar --include=usr-is-merged \
      --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --aptopt="$private/apt.conf" \
      --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
      --dpkgopt='path-exclude=/usr/share/doc/*' \
      --dpkgopt='path-include=/usr/share/doc/*/copyright' \
      --customize-hook='rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"' \
      --customize-hook=': >"$1/etc/apt/sources.list"' \
      2>"$private/log" ||
      { cat "$private/log" >&2; return 1; }
    mv "$work/base.tar.new" "$work/base.tar"
    build rmi --force "$base" >/dev/null 2>&1 || true
  fi
  if ! build inspect --type image "$base" >/dev/null 2>&1; then
    container=$(build from scratch)
    build add --quiet "$container" "$work/base.tar" / >/dev/null
    build commit --quiet --format docker "$container" "$base" >/dev/null
    build rm "$container" >/dev/null
    container=''
  fi
}

build_image() {
  local ccache_dir=$work/ccache
  if command -v ccache >/dev/null; then
    ccache_dir=$(ccache --get-config cache_dir)
  fi
  mkdir -p "$ccache_dir"
  build build --format docker --isolation chroot --layers --pull-never \
    --signature-policy "$root/tests/system/image/policy.json" \
    --build-arg "BASE=${base%:*}@$base_digest" --build-arg "JOBS=$(nproc)" \
    --volume "$private/apt:/etc/apt:ro" --volume /usr/share/keyrings:/usr/share/keyrings:ro \
    --volume "$ccache_dir:/ccache" \
    "$@" "$root"
}

# Keeps the layers of this build for the next one, and removes older ones.
tidy_up() {
  build_image --quiet --target build --tag localhost/vmeventd-build:latest >/dev/null
  build rmi --prune >/dev/null
}

rm -rf "$TMPDIR"
mkdir -p "$TMPDIR"
private=$(mktemp -d "$work/private.XXXXXX")
driver=$(choose_driver)
# Under sudo, ./dev changes the owner of its tree to the user, which makes the layers unusable.
if [[ -d $work/storage && ! -d $work/storage/$driver || -n $(find "$work/storage" -maxdepth 0 \
      ! -user root 2>/dev/null) ]]; then
  rm -rf "$work/storage" "$work/run"
fi
# Remove containers that a killed run has left.
build rm --all >/dev/null
copy_apt_configuration
make_base
# As a base from a registry should be named: nothing else may take its place.
base_digest=$(build inspect --type image --format '{{.FromImageDigest}}' "$base")
say "building the image"
build_image --tag "$image"
if [[ $1 == --archive ]]; then
  rm -f "$work/vmeventd.tar"
  build push --quiet "$image" "docker-archive:$work/vmeventd.tar:localhost/vmeventd:1.0.0"
  exit
fi
mkdir -p "$3"
bin=$(cd "$1" && pwd)
guest=$(cd "$2" && pwd)
libvirt_cache=$(cd "$3" && pwd)
readonly bin guest libvirt_cache
build_image --build-arg LIBVIRT=yes --tag "$libvirt_image"
build_image --target client --tag "$client_image"
build_image --target kubevirt --tag "$kubevirt_image"
tidy_up
say "testing the image"
/usr/bin/python3 -B "$root/tests/system/image/image_test.py" \
  --storage "$work/storage" --runroot "$work/run" --driver "$driver" \
  --image "$image" --libvirt-image "$libvirt_image" --client-image "$client_image" --kubevirt-image "$kubevirt_image" \
  --sboms "$work" --base "$base" --bin "$bin" \
  --guest "$guest" --libvirt-cache "$libvirt_cache"
