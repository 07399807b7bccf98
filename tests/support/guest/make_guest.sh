#!/usr/bin/env bash
# Makes the guest that the end-to-end tests and ./dev demo boot: Debian's kernel, not installed but
# taken out of its package, and an initramfs of busybox and ./init.
#
#   make_guest.sh DIRECTORY
#
# puts these files there, and does nothing when they were made from the same inputs already:
#   vmlinux  boots in half the time of vmlinuz: unpacked, it starts at its PVH entry
#   vmlinuz  wakes up from suspend to RAM, which fails after a start at the PVH entry
#   initrd   for both
# Needs apt's package lists, busybox-static, cpio, g++, xz-utils and zstd; not root.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $# -eq 1 ]] || { echo "usage: $0 DIRECTORY" >&2; exit 2; }
out=$1
readonly modules="acpi/button input/evdev misc/pvpanic/pvpanic misc/pvpanic/pvpanic-mmio
  misc/pvpanic/pvpanic-pci watchdog/watchdog watchdog/i6300esb virtio/virtio virtio/virtio_ring
  virtio/virtio_pci_modern_dev virtio/virtio_pci_legacy_dev virtio/virtio_pci char/virtio_console"

# The saved kernel is as good as a newer one: only what this repository and busybox
# contribute leads to a new image.
inputs=$(sha256sum "$here/init" "$here/outw.cc" "$here/make_guest.sh" /bin/busybox | cut -d' ' -f1 | sha256sum)
if [[ -s $out/vmlinux && -s $out/vmlinuz && -s $out/initrd &&
       -f $out/inputs && $(<"$out/inputs") == "$inputs" ]]; then
  echo "guest image: $out is up to date"
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"  # apt's own user looks in

# The full kernel: the cloud kernel has no i6300esb.
kernel_package=$(apt-cache depends linux-image-amd64 2>/dev/null |
  awk '$1 == "Depends:" && $2 ~ /^linux-image-.*-amd64$/ && !found++ {print $2}')
if [[ -z $kernel_package ]]; then
  echo "guest image: apt knows no linux-image-amd64; run apt-get update first" >&2
  exit 1
fi
echo "guest image: downloading $kernel_package"
(cd "$work" && apt-get -q=2 -o APT::Sandbox::User="$(id -un)" download "$kernel_package")
dpkg-deb -x "$work/$kernel_package"_*.deb "$work/package"

# The kernel's x86 boot protocol says where the compressed kernel is. Its last four bytes are its size.
vmlinuz=$(echo "$work"/package/boot/vmlinuz-*)
sectors=$(od -An -tu1 -j $((0x1f1)) -N 1 "$vmlinuz")
read -r offset length < <(od -An -tu4 -j $((0x248)) -N 8 "$vmlinuz")
dd if="$vmlinuz" of="$work/payload" iflag=skip_bytes,count_bytes skip=$(((sectors + 1) * 512 + offset)) count=$((length - 4)) \
  bs=1M status=none
case $(od -An -tx1 -N 4 "$work/payload" | tr -d ' ') in
  fd377a58) xz -dc "$work/payload" >"$work/vmlinux" ;;     # Debian 12
  28b52ffd) zstd -qdc "$work/payload" >"$work/vmlinux" ;;  # Debian 13
  *)
    echo "guest image: the kernel of $kernel_package is compressed neither by xz nor by zstd" >&2
    exit 1
    ;;
esac

echo "guest image: packing the initramfs"
root=$work/root
mkdir -p "$root"/{bin,dev,proc,sys,run,modules,etc/acpi/PWRF}
cp /bin/busybox "$root/bin/"
for applet in $(/bin/busybox --list); do
  [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
done
install -m 755 "$here/init" "$root/init"
g++ -Os -static -o "$root/bin/outw" "$here/outw.cc"
printf '#!/bin/sh\npoweroff -f\n' >"$root/etc/acpi/PWRF/00000080"
chmod 755 "$root/etc/acpi/PWRF/00000080"
# A package of Debian 13 has compressed modules, in /usr, and some of them in the kernel.
modules_dir=$(find "$work/package" -type d -path '*/lib/modules/*/kernel' -prune)
for module in $modules; do
  file=$modules_dir/drivers/$module.ko
  if [[ -f $file ]]; then
    cp "$file" "$root/modules/"
  elif [[ -f $file.xz ]]; then
    xz -dc "$file.xz" >"$root/modules/${module##*/}.ko"
  elif ! grep -qxF "kernel/drivers/$module.ko" "$modules_dir/../modules.builtin"; then
    echo "guest image: $kernel_package has no module $module" >&2
    exit 1
  fi
done
(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$work/initrd"

mkdir -p "$out"
rm -f "$out/inputs"
cp "$vmlinuz" "$work/vmlinuz"
mv "$work/vmlinux" "$work/vmlinuz" "$work/initrd" "$out/"
echo "$inputs" >"$out/inputs"
echo "guest image: made $out from $kernel_package"
