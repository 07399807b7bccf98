# shellcheck shell=bash disable=SC2154
# ./dev nightly: measurements and tests that take longer than any tier. Sourced by ./dev, whose functions it uses.

readonly newer_qemu_dir=build/qemu-backports
readonly newer_libvirt_dir=build/libvirt-backports
readonly newer_nats_dir=build/nats-unstable
# What the image takes in addition to the other packages.
readonly image_packages=(
  buildah runc
)
# A broker, and what a kube-apiserver is built with and runs on.
readonly rabbitmq_packages=(
  rabbitmq-server
)
# Compilers and libraries of gRPC's clients in Go and Java.
readonly clients_packages=(
  default-jdk-headless golang-go golang-google-grpc-dev golang-google-protobuf-dev libgrpc-java libnetty-java
  libperfmark-java protobuf-compiler-grpc-java-plugin protoc-gen-go-grpc
)
readonly kubernetes_packages=(
  etcd-server golang-github-modern-go-reflect2-dev golang-go
)

# Name, program and explanation of each.
readonly nightly_list='
soak             kill -9 the daemon ROUNDS (1000) times under load, and check its journal and streams
fleet-sizing     what a full stream of the fleet costs a NATS server [--mib N] [--nodes N] [--connections N]
attacks          attacks as a client can make them, and what others notice [--seconds N] [--attack NAME]...
instructions     instructions and system calls of the hot paths, against tools/measure/hot_paths.json
simulation       10,000 lives in virtual time [--seed N | --shrink N | --lives N]
mutations        defects built into a copy, which the simulation has to find [NAME...]
fuzz             each fuzz target for SECONDS (60)
harm             ends ROUNDS (1000) QEMUs next to vmeventd and without it [--phase start|restart|stop|pause]
compare          ends guests under vmeventd, kvmd and libvirt; writes docs/internals/comparison.md; root
picture          draws vmevents watch next to guests, for the README
bench            as ./dev bench [--quick]
tutorials        pages of commands, pasted as written
endings          all endings, of guests that run Linux
qemu             the guests once more, with the QEMU of the backports
libvirt          the domains once more, with the libvirt of the backports
nats             the fleet once more, with the NATS server of Debian unstable
rabbitmq         the hook of nova on a real RabbitMQ
clients          clients in Go and Java, generated as docs/api.md says
managers         Ganeti, Incus, LXD, nova and Podman (with quadlets) as they really run; writes docs/internals/managers.json [NAME...]; root
kernel           the kernel, libvirt and systemd of Debian 13 in a virtual machine, with packages built there; root
kubernetes       the manifests and the hook of KubeVirt on a real kube-apiserver, which it builds
debian13         builds the programs on Debian 13, in a chroot, and passes the unit tests [--build: no tests]; root
bare             the commands of README.md on a bare Debian 12 and 13, in chroots [bookworm|trixie]; root
image            builds the container image and runs it next to guests; root
'

# apt_of DIR SUITE...: prepares apt-get for these suites of Debian alone, in DIR/apt, and sets apt_options.
apt_of() {
  local apt=$1/apt uri suite
  shift
  rm -rf "${apt%/apt}"
  mkdir -p "$apt/lists/partial" "$apt/archives/partial"
  # shellcheck disable=SC2016  # apt-get's own variable
  uri=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $codename" 'Created-By: Packages' |
    head -n 1)
  [[ -n $uri ]] || fail "apt-get knows no source of Debian's $codename"
  for suite in "$@"; do printf 'deb %s %s main\n' "$uri" "$suite"; done >"$apt/sources.list"
  apt_options=(
    -q -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=-
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache::Archives=$apt/archives"
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
  )
  as_root apt-get "${apt_options[@]}" update
}

# fetch_backports DIR PROGRAM PACKAGE...: unpacks the packages of this release's backports in DIR/root, which
# then has PROGRAM. What is installed stays as it is.
fetch_backports() {
  local dir=$root/$1 program=$2 package apt_options
  shift 2
  [[ ! -x $dir/root/$program ]] || return 0
  say "fetching $* of $codename-backports"
  apt_of "$dir" "$codename" "$codename-backports"
  as_root apt-get "${apt_options[@]}" -y --no-install-recommends --download-only \
    -t "$codename-backports" install "$@"
  for package in "$dir"/apt/archives/*.deb; do
    dpkg -x "$package" "$dir/root"
  done
}

# fetch_unstable DIR PROGRAM PACKAGE: the same of one package of Debian unstable, without what it needs.
fetch_unstable() {
  local dir=$root/$1 program=$2 apt_options
  [[ ! -x $dir/root/$program ]] || return 0
  say "fetching $3 of Debian unstable"
  apt_of "$dir" sid
  (cd "$dir/apt/archives" && apt-get "${apt_options[@]}" -o APT::Sandbox::User="$(id -un)" download "$3")
  dpkg -x "$dir"/apt/archives/*.deb "$dir/root"
}

nightly_soak() {
  local rounds=${1:-1000}
  [[ $rounds =~ ^[1-9][0-9]*$ ]] || fail "soak: not a number of rounds: $rounds"
  build_targets release vmeventd vmevents
  build_targets asan crash_test
  VMEVENTD_PROGRAMS=build/release/bin build/asan/bin/crash_test --rounds "$rounds"
}

nightly_fleet_sizing() {
  build_targets release fleet_sizing
  nats-server --version
  build/release/bin/fleet_sizing "$@"
}

nightly_attacks() {
  build_targets release vmeventd vmeventd_tuned
  tools/attacks.py build/release/bin "$@"
}

nightly_instructions() {
  build_targets release hot_paths
  run_tests build/release nightly -R '^hot_paths$'
}

nightly_simulation() {
  build_targets release simulate
  build/release/bin/simulate --processes "$(nproc)" "$@"
}

nightly_mutations() { tests/simulation/mutations.py "$@"; }

nightly_fuzz() {
  local seconds=${1:-60} target name
  [[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "fuzz: not a number of seconds: $seconds"
  build_targets fuzz
  for target in build/fuzz/bin/fuzz_*; do
    name=${target##*/fuzz_}
    say "fuzzing $name for $seconds s; new inputs go to build/fuzz/corpus/$name"
    mkdir -p "build/fuzz/corpus/$name"
    "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
      -artifact_prefix=build/fuzz/ "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name"
  done
}

nightly_harm() {
  local rounds=1000
  if [[ ${1:-} =~ ^[1-9][0-9]*$ ]]; then
    rounds=$1
    shift
  fi
  build_programs
  tools/harm.py build/release/bin --rounds "$rounds" "$@"
}

nightly_compare() {
  build_programs
  as_root tools/compare/compare.py build/release/bin "$guest_dir" build/libvirt-cache build/comparison
  cp build/comparison/comparison.{json,md,svg} docs/internals/
  echo "compare: wrote docs/internals/comparison.{json,md,svg}"
}

nightly_picture() {
  build_programs
  tools/picture/watch_picture.py build/release/bin "$guest_dir" docs/watch.svg
  tools/picture/web_picture.py build/release/bin docs/web.png
}

nightly_bench() { bench "$@"; }

nightly_tutorials() {
  build_programs
  run_tests build/release nightly -R '^tutorial'
}

nightly_endings() {
  build_targets asan e2e_test
  run_tests build/asan nightly -R 'LinuxEndingTest' -j "$(jobs_at_a_time)"
}

nightly_qemu() {
  build_targets asan e2e_test e2e_all_test
  # A guest of s390x says on each QEMU why it panicked.
  fetch_backports "$newer_qemu_dir" usr/bin/qemu-system-s390x qemu-system-x86 qemu-system-s390x
  local bin=$root/$newer_qemu_dir/root/usr/bin
  "$bin/qemu-system-x86_64" --version
  PATH=$bin:$PATH run_tests build/asan '(quick|all|nightly)' -R 'Test\.' -j "$(($(jobs_at_a_time) * 2))"
}

# The daemon, its driver and virsh, and the library that vmeventd loads.
nightly_libvirt() {
  build_targets asan e2e_all_test
  fetch_backports "$newer_libvirt_dir" usr/sbin/libvirtd \
    libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients libvirt0
  local unpacked=$root/$newer_libvirt_dir/root libraries
  libraries=$unpacked/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
  export PATH=$unpacked/usr/sbin:$unpacked/usr/bin:$PATH
  export LD_LIBRARY_PATH=$libraries LIBVIRT_DRIVER_DIR=$libraries/libvirt/connection-driver
  libvirtd --version
  run_tests build/asan all -R 'Libvirt[A-Za-z]*Test\.' -j "$(($(jobs_at_a_time) * 2))"
  say "200 domains start and stop while libvirtd is restarted"
  VMEVENTD_LIBVIRT_DOMAINS=200 build/asan/bin/e2e_all_test --gtest_filter='LibvirtTest.ManyDomains*'
}

# Debian 12 has 2.9, its backports none; a program in Go runs on an older release as well.
nightly_nats() {
  build_targets asan e2e_all_test
  fetch_unstable "$newer_nats_dir" usr/sbin/nats-server nats-server
  export PATH=$root/$newer_nats_dir/root/usr/sbin:$PATH
  nats-server --version
  run_tests build/asan all -R '^Fleet[A-Za-z]*Test\.' -j "$(jobs_at_a_time)"
}

nightly_rabbitmq() {
  build_targets release vmeventd vmevents fake_qemu
  install_missing "${rabbitmq_packages[@]}"
  run_tests build/release nightly -R '^hooks[.]nova_rabbitmq$'
}

nightly_clients() {
  build_targets release vmeventd vmevents fake_qemu
  install_missing "${clients_packages[@]}"
  need_npm
  tools/contract/check.sh
  run_tests build/release nightly -R '^clients[.]compiled$'
}

nightly_kubernetes() {
  build_targets release vmeventd vmevents fake_qemu
  install_missing "${kubernetes_packages[@]}"
  need_npm
  tools/kube_apiserver.sh build/kubernetes
  run_tests build/release nightly -R '^(hooks[.]kubevirt_apiserver|manifests[.]apply)$'
}

# Each manager has a file in tests/system/managers/real, and a row in tools/managers_table.py.
readonly real_managers=(ganeti incus lxd nova podman quadlet)

nightly_managers() {
  local name packages results=()
  (($# > 0)) || set -- "${real_managers[@]}"
  for name in "$@"; do
    [[ " ${real_managers[*]} " == *" $name "* ]] || fail "managers: not one of ${real_managers[*]}: $name"
  done
  build_programs
  deploy/build_package.sh build/release binary
  if [[ " $* " == *" podman "* || " $* " == *" quadlet "* ]]; then
    install_missing "${image_packages[@]}"
    as_root tools/test_image.sh --archive build/image
  fi
  for name in "$@"; do
    say "the manager $name"
    packages=build/release/package
    if [[ $name == quadlet ]]; then  # on Debian 13
      packages_of_debian13
      packages=build/debian13/$packages
    fi
    as_root tests/system/managers/real/run.sh "$name" "$packages" "$guest_dir" build/managers
    results+=("build/managers/$name.json")
  done
  tools/managers_table.py --write "${results[@]}"
}

nightly_kernel() {
  packages_of_debian13
  as_root tests/system/managers/real/run.sh kernel build/debian13/build/release/package "$guest_dir" build/managers
}

packages_of_debian13() { as_root tools/debian13.sh ./dev nightly-part packages-inside; }
nightly_packages_inside() {
  install_missing "${shipped_packages[@]}"
  build_targets release vmeventd vmevents
  deploy/build_package.sh build/release binary
}

nightly_debian13() { as_root tools/debian13.sh ./dev nightly-part debian13-inside "$@"; }

nightly_debian13_inside() {
  [[ -z ${1:-} || $1 == --build ]] || fail "debian13: not --build: $1"
  install_missing "${build_packages[@]}" libgmock-dev libgtest-dev python3
  build_targets quick vmeventd vmevents
  [[ ${1:-} != --build ]] || return 0
  build_targets quick watcher_test server_test client_test
  run_tests build/quick quick -R '^(watcher|server|client)_test' -j "$(($(jobs_at_a_time) * 2))"
}

nightly_bare() {
  local release
  (($# > 0)) || set -- bookworm trixie
  for release in "$@"; do as_root tools/bare.sh "$release"; done
}

nightly_image() {
  build_programs
  install_missing "${image_packages[@]}"
  as_root tools/test_image.sh build/release/bin "$guest_dir" build/libvirt-cache build/image
}

# run_nightly [--list | NAME... | NAME ARGUMENT...]
run_nightly() {
  local names=() name failed=()
  if [[ ${1:-} == --list ]]; then
    printf '%s' "${nightly_list#$'\n'}"
    return
  fi
  while (($# > 0)) && grep -q "^$1 " <<<"$nightly_list"; do
    names+=("$1")
    shift
  done
  (($# == 0 || ${#names[@]} > 0)) || fail "nightly: there is no $1; ./dev nightly --list says which there are"
  (($# == 0 || ${#names[@]} == 1)) || fail "nightly: $1 is no name, and arguments are for one name alone"
  ((${#names[@]} > 0)) || mapfile -t names < <(awk 'NF {print $1}' <<<"$nightly_list")
  install_missing "${nightly_packages[@]}"
  guest
  for name in "${names[@]}"; do
    say "nightly: $name"
    # In a process of its own: a path that it sets is for itself, and set -e holds within.
    if ! "$root/dev" nightly-part "$name" "$@"; then failed+=("$name"); fi
  done
  ((${#failed[@]} == 0)) || fail "nightly: failed: ${failed[*]}"
}
