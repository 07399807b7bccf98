#!/usr/bin/env bash
# start_libvirtd.sh DIR CACHE [pod|containers]: runs a libvirtd in the foreground that knows nothing of the
# machine's own: its configuration, sockets, state and logs are in DIR, what it finds out about the
# QEMU of this machine in CACHE. Its socket is DIR/run/libvirt-sock. Needs root, for a mount
# namespace. "pod": it and its QEMUs have PIDs of their own as well, and all end with this process.
# "containers": its driver of containers finds one kind of cgroups alone, as it needs.
set -euo pipefail
dir=$1 cache=$2
namespaces=(--mount)
if [[ ${3-} == pod ]]; then namespaces+=(--pid --fork --kill-child --mount-proc); fi
mkdir -p "$dir"/{etc,run,lib,log} "$cache"
cat >"$dir/etc/qemu.conf" <<'EOF'
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
remember_owner = 0
stdio_handler = "file"
max_core = 0
EOF
# Each is a host of its own, or libvirt would not migrate domains between them.
host_uuid=$(md5sum <<<"$dir" | sed -E 's/^(.{8})(.{4})(.{4})(.{4})(.{12}).*/\1-\2-\3-\4-\5/')
cat >"$dir/etc/libvirtd.conf" <<EOF
host_uuid = "$host_uuid"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
log_outputs = "3:stderr"
EOF
# Debian's libvirtd wants these, even where they are not used.
{
  cat /etc/passwd
  echo 'libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin'
} >"$dir/passwd"
{
  cat /etc/group
  echo 'libvirt-qemu:x:64055:'
} >"$dir/group"
# shellcheck disable=SC2016 # expanded by the inner shell
exec unshare "${namespaces[@]}" --propagation private bash -euc '
  dir=$0 cache=$1
  mkdir -p /etc/libvirt /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt
  mount --bind "$dir/etc" /etc/libvirt
  mount --bind "$dir/run" /run/libvirt
  mount --bind "$dir/lib" /var/lib/libvirt
  mount --bind "$dir/log" /var/log/libvirt
  mount --bind "$cache" /var/cache/libvirt
  mount --bind "$dir/passwd" /etc/passwd
  mount --bind "$dir/group" /etc/group
  if [[ $2 == containers ]] && mountpoint -q /sys/fs/cgroup/unified; then
    umount /sys/fs/cgroup/unified
  fi
  if [[ $$ != 1 ]]; then exec libvirtd --pid-file "$dir/libvirtd.pid"; fi
  # As the first process of a pod it reaps what QEMU leaves.
  libvirtd --pid-file "$dir/libvirtd.pid" &
  wait' "$dir" "$cache" "${3-}"
