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
# Needs apt's package lists, busybox-static, cpio, g++ and xz-utils; not root.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $# -eq 1 ]] || { echo "usage: $0 DIRECTORY" >&2; exit 2; }
out=$1
readonly modules="acpi/button input/evdev misc/pvpanic/pvpanic misc/pvpanic/pvpanic-mmio
  misc/pvpanic/pvpanic-pci watchdog/watchdog watchdog/i6300esb virtio/virtio virtio/virtio_ring
  virtio/virtio_pci_modern_dev virtio/virtio_pci_legacy_dev virtio/virtio_pci char/virtio_console"

# The kernel that is kept is as good as a newer one: only what this repository and busybox
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

vmlinuz=$(echo "$work"/package/boot/vmlinuz-*)
offset=$(LC_ALL=C grep -abo -P '\xFD7zXZ\x00' "$vmlinuz" | awk -F: 'NR == 1 {print $1}')
if [[ -z $offset ]]; then
  echo "guest image: $kernel_package holds no xz-compressed kernel" >&2
  exit 1
fi
# xz stops at the end of its stream, before tail does: no pipe, whose broken end would be an error.
xz -dcq --single-stream >"$work/vmlinux" < <(tail -c "+$((offset + 1))" "$vmlinuz")

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
for module in $modules; do
  cp "$work"/package/lib/modules/*/kernel/drivers/"$module.ko" "$root/modules/"
done
(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$work/initrd"

mkdir -p "$out"
rm -f "$out/inputs"
cp "$vmlinuz" "$work/vmlinuz"
mv "$work/vmlinux" "$work/vmlinuz" "$work/initrd" "$out/"
echo "$inputs" >"$out/inputs"
echo "guest image: made $out from $kernel_package"
