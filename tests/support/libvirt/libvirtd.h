#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/support/child_process.h"

namespace vmeventd::e2e {

struct DomainOptions {
  std::string name = "vm1";
  bool linux_guest = false;  // the test guest; otherwise a machine that boots nothing
  std::string on_poweroff = "destroy";
  std::string on_reboot = "restart";
  std::string on_crash = "destroy";
  bool paused = false;
  std::vector<std::string> qemu_arguments;  // additional arguments; these taint the domain
};

// A real libvirtd of its own, in a directory. Its domains end with it at the latest.
class Libvirtd {
 public:
  // kPod: as in a pod of KubeVirt it and its QEMUs have PIDs of their own, and all are killed at
  // once, by Stop(SIGKILL). Its sockets are in an emptyDir, at a path longer than a Unix address,
  // which the pod sees as /run/libvirt.
  // kContainers: it is asked for its driver of containers.
  enum class Kind { kPlain, kPod, kContainers };
  explicit Libvirtd(std::string directory, Kind kind = Kind::kPlain);
  ~Libvirtd();

  void Start();
  // Ends the libvirtd and not its domains.
  void Stop(int signal);
  void Signal(int signal) { process_->Signal(signal); }
  pid_t pid() const { return process_->pid(); }
  // Kills the QEMUs that are left.
  void KillDomains();

  // As the node sees it.
  std::string socket() const;
  std::string uri() const { return UriOf(socket()); }
  // Text of VmRef::source.
  std::string source() const { return "libvirt:" + uri(); }
  const std::string& directory() const { return directory_; }

  CommandResult TryVirsh(const std::vector<std::string>& arguments);
  // Fails the test where virsh does.
  std::string Virsh(const std::vector<std::string>& arguments);

  // Starts a transient domain; of the test guest, waits for its shell.
  void Create(const DomainOptions& options);
  // Defines and starts a persistent domain; waits likewise.
  void DefineAndStart(const DomainOptions& options);
  // Defines and starts a container, which has the host's files, and whose init runs the lines that
  // it is typed. Where libvirt cannot start one here, what it says; empty: it runs.
  std::string TryDefineAndStartContainer(const std::string& name);
  // The pid as the libvirtd sees it.
  pid_t Pid(const std::string& name) const;
  // Runs a command line in the guest's shell, or in a container's.
  void Type(const std::string& name, const std::string& command) const;
  void WaitReady(const std::string& name) const;

 private:
  std::string UriOf(const std::string& path) const {
    return (kind_ == Kind::kContainers ? "lxc" : "qemu") + ("+unix:///system?socket=" + path);
  }
  // For virsh, which takes no path that is longer than a Unix address.
  std::string VirshUri() const { return UriOf(directory_ + "/run/libvirt-sock"); }
  std::string WriteXml(const DomainOptions& options) const;
  std::string PidDirectory() const;
  std::string FifoPath(const std::string& name) const;
  std::string SerialPath(const std::string& name) const;
  // Types a line; whether the shell answered it before nothing came for `patience`.
  bool TryType(const std::string& name, const std::string& line, const std::string& answer,
               absl::Duration patience) const;

  const std::string directory_;
  const Kind kind_;
  std::unique_ptr<ChildProcess> process_;
};

// Returns whether the machine has what that takes: root, and the programs; and libvirt's driver of
// containers.
bool CanRunLibvirtd();
bool HasContainerDriver();

}  // namespace vmeventd::e2e
