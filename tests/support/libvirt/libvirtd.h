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

// A separate real libvirtd, in a directory. The destructor also ends its domains.
class Libvirtd {
 public:
  // kPod: like in a pod of KubeVirt. It and its QEMUs have their own PID namespace, and
  // Stop(SIGKILL) kills all of them at once. Its sockets are in an emptyDir, at a path that is
  // longer than a Unix address; the pod sees it as /run/libvirt.
  // kContainers: its URI is that of the driver for containers.
  enum class Kind { kPlain, kPod, kContainers };
  explicit Libvirtd(std::string directory, Kind kind = Kind::kPlain);
  ~Libvirtd();

  void Start();
  // Ends the libvirtd, but not its domains.
  void Stop(int signal);
  void Signal(int signal) { process_->Signal(signal); }
  pid_t pid() const { return process_->pid(); }
  // Kills the remaining QEMUs.
  void KillDomains();

  // The path of the socket as the node sees it.
  std::string socket() const;
  std::string uri() const { return UriOf(socket()); }
  // The text in VmRef::source.
  std::string source() const { return "libvirt:" + uri(); }
  const std::string& directory() const { return directory_; }

  CommandResult TryVirsh(const std::vector<std::string>& arguments);
  // Fails the test if virsh fails.
  std::string Virsh(const std::vector<std::string>& arguments);

  // Starts a transient domain. For the test guest, waits for its shell.
  void Create(const DomainOptions& options);
  // Defines and starts a persistent domain. For the test guest, waits for its shell.
  void DefineAndStart(const DomainOptions& options);
  // Defines and starts a container. It has the host's files, and its init runs the lines that are
  // typed to it. Returns libvirt's error if libvirt cannot start one here; empty: it runs.
  std::string TryDefineAndStartContainer(const std::string& name);
  // The pid in the PID namespace of the libvirtd.
  pid_t Pid(const std::string& name) const;
  // Runs a command line in the guest's shell, or in a container's.
  void Type(const std::string& name, const std::string& command) const;
  void WaitReady(const std::string& name) const;

 private:
  std::string UriOf(const std::string& path) const {
    return (kind_ == Kind::kContainers ? "lxc" : "qemu") + ("+unix:///system?socket=" + path);
  }
  // The URI for virsh, which does not accept a path longer than a Unix address.
  std::string VirshUri() const { return UriOf(directory_ + "/run/libvirt-sock"); }
  std::string WriteXml(const DomainOptions& options) const;
  std::string PidDirectory() const;
  std::string FifoPath(const std::string& name) const;
  std::string SerialPath(const std::string& name) const;
  // Types a line. Returns whether the shell gave this answer; gives up when nothing arrived for
  // `patience`.
  bool TryType(const std::string& name, const std::string& line, const std::string& answer,
               absl::Duration patience) const;

  const std::string directory_;
  const Kind kind_;
  std::unique_ptr<ChildProcess> process_;
};

// Return whether this machine can run a libvirtd (root, and the programs), and whether it has
// libvirt's driver for containers.
bool CanRunLibvirtd();
bool HasContainerDriver();

}  // namespace vmeventd::e2e
