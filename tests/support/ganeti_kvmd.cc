#include "tests/support/ganeti_kvmd.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace vmeventd::e2e {
namespace {

constexpr char kKvmd[] = "/usr/lib/ganeti/3.0/usr/sbin/ganeti-kvmd";

// kvmd watches one fixed path: it runs in a mount namespace that has the directory $1 there.
constexpr char kRunKvmd[] = R"sh(
mount -t tmpfs none /run &&
mkdir -p /run/ganeti/kvm-hypervisor/ctrl &&
mount --bind "$1" /run/ganeti/kvm-hypervisor/ctrl &&
if [ -n "$2" ]; then exec >"$2" 2>&1; fi &&
shift 2 && exec "$@")sh";

}  // namespace

std::string WhatKvmdLacks() {
  if (access(kKvmd, X_OK) != 0) return "Debian's package ganeti-haskell-3.0";
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
  child.arguments = {"unshare",         "-m", "--propagation",   "private",        "sh",  "-c",
                     kRunKvmd,          "sh", options.directory, options.log_file, kKvmd, "-f",
                     "--no-user-checks"};
  if (options.debug) child.arguments.emplace_back("-d");
  child.environment = {"GANETI_ROOTDIR=" + options.root, "GANETI_HOSTNAME=localhost"};
  return std::make_unique<ChildProcess>(child);
}

}  // namespace vmeventd::e2e
