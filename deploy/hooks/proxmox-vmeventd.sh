#!/bin/sh
# A hookscript of Proxmox VE that declares a stop by an admin, so that vmeventd calls the end an
# admin's even where the guest agent carries it out. Proxmox VE runs it before `qm shutdown` and
# `qm stop`, not when a guest powers itself off. Install it on every node and name it for each VM:
#
#   install -D -m 0755 proxmox-vmeventd.sh /var/lib/vz/snippets/vmeventd.sh
#   qm set VMID --hookscript local:snippets/vmeventd.sh
#
# The name of the VM is its VMID, after its monitor for vmeventd: /usr/share/doc/vmeventd/connect.md.
# From the source of Proxmox VE, not run on one.

vmid=${1:-}
phase=${2:-}
[ "$phase" = pre-stop ] || exit 0
[ -n "$vmid" ] || exit 0

timeout 15 vmevents intent declare "$vmid" --actor proxmox \
  --reason "a stop through Proxmox VE" --ttl 10m </dev/null >/dev/null 2>&1
exit 0
