# shellcheck shell=bash
# The cgroups that systemd-nspawn makes and does not take away.

nspawn_cgroups() {
  find /sys/fs/cgroup -maxdepth 4 -type d \( -name payload -o -name supervisor \) 2>/dev/null | sort || true
}

# remove_nspawn_cgroups BEFORE: those that nspawn_cgroups did not print before.
remove_nspawn_cgroups() {
  local cgroup
  for cgroup in $(comm -13 <(echo "$1") <(nspawn_cgroups)); do
    find "$cgroup" -depth -type d -exec rmdir {} + || true
  done
}
