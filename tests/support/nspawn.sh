# shellcheck shell=bash
# The cgroups that systemd-nspawn makes and does not take away.

# enter_cgroup NAME-nspawn: two systemd-nspawns need two cgroups: in one they would share a payload.
enter_cgroup() {
  local hierarchy
  for hierarchy in /sys/fs/cgroup{,/systemd,/unified}; do
    [[ -f $hierarchy/cgroup.procs ]] || continue
    mkdir -p "$hierarchy/$1"
    echo "$BASHPID" >"$hierarchy/$1/cgroup.procs"
  done
}

nspawn_cgroups() {
  find /sys/fs/cgroup -maxdepth 4 -type d \( -name payload -o -name supervisor \) 2>/dev/null | sort || true
}

# remove_nspawn_cgroups BEFORE: those that nspawn_cgroups did not print before.
remove_nspawn_cgroups() {
  local cgroup
  for cgroup in $(comm -13 <(echo "$1") <(nspawn_cgroups)); do
    find "$cgroup" -depth -type d -exec rmdir {} + || true
    [[ $cgroup != */*-nspawn/* ]] || rmdir --ignore-fail-on-non-empty "${cgroup%/*}"
  done
}
