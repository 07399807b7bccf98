#include "tests/support/ganeti_kvmd.h"

#include <glob.h>

#include <filesystem>
#include <fstream>

namespace vmeventd::e2e {
namespace {

// The program's path, which has Ganeti's version; empty: it is not installed.
std::string Kvmd() {
  glob_t found{};
  std::string path;
  if (glob("/usr/lib/ganeti/*/usr/sbin/ganeti-kvmd", 0, nullptr, &found) == 0) {
    path = found.gl_pathv[0];
  }
  globfree(&found);
  return path;
}

// kvmd watches one fixed path: it runs in a mount namespace that has the directory $1 there.
constexpr char kRunKvmd[] = R"sh(
mount -t tmpfs none /run &&
mkdir -p /run/ganeti/kvm-hypervisor/ctrl &&
mount --bind "$1" /run/ganeti/kvm-hypervisor/ctrl &&
if [ -n "$2" ]; then exec >"$2" 2>&1; fi &&
shift 2 && exec "$@")sh";

}  // namespace

std::string WhatKvmdLacks() {
  if (Kvmd().empty()) return "Debian's package ganeti-haskell-3.0 or -3.1";
  ChildOptions mount;
  mount.arguments = {"unshare", "-m", "sh", "-c", "mount -t tmpfs none /run"};
  if (RunCommand(mount).exit_code != 0) return "the right to mount: kvmd gets a mount namespace";
  return "";
}

std::unique_ptr<ChildProcess> StartKvmd(const KvmdOptions& options) {
  // It reads the facts that it needs of its cluster from files below $GANETI_ROOTDIR.
  const std::string config = options.root + "/var/lib/ganeti";
  for (const std::string& made : {options.directory, config, options.root + "/var/log/ganeti",
                                  options.root + "/var/run/ganeti", options.root + "/var/lock"}) {
    std::filesystem::create_directories(made);
  }
  std::ofstream(config + "/ssconf_hypervisor_list") << "kvm\n";
  std::ofstream(config + "/ssconf_enabled_user_shutdown") << "True\n";
  std::ofstream(config + "/ssconf_node_vm_capable") << "localhost=True\n";
  ChildOptions child;
  child.arguments = {"unshare",         "-m", "--propagation",   "private",        "sh",   "-c",
                     kRunKvmd,          "sh", options.directory, options.log_file, Kvmd(), "-f",
                     "--no-user-checks"};
  if (options.debug) child.arguments.emplace_back("-d");
  child.environment = {"GANETI_ROOTDIR=" + options.root, "GANETI_HOSTNAME=localhost"};
  return std::make_unique<ChildProcess>(child);
}

}  // namespace vmeventd::e2e
