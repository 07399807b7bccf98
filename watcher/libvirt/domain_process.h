#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unix_address.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/process.h"

namespace vmeventd {

// Returns the directory of pid files of the libvirt that serves `socket` (empty: where libvirt
// itself looks).
std::string PidDirectory(const LibvirtSpec& spec, const std::string& socket);

// Start time of the libvirtd that has that directory of pid files, in Unix nanoseconds: no two have
// the same. 0: not known.
int64_t LibvirtdBegan(const std::string& pid_directory);

// Returns the directory of the logs of libvirt's domains; empty: not known. `directory` is that of
// its logs.
std::string LogDirectory(const LibvirtSpec& spec, const std::string& directory);

// The last life of a domain, by the domain's log NAME.log, in which libvirt notes each start, and
// from libvirt 3.0 on why it takes a domain for ended.
struct LoggedLife {
  std::optional<DomainLifecycle> end;  // unset: no end is noted, or none of use
};
// Returns what is noted of the life that began at `process_start`. Unset where the log does not
// show that the domain has not begun again since that life was `seen`.
std::optional<LoggedLife> LastLoggedLife(const std::string& log_directory, const std::string& name,
                                         absl::Time process_start, absl::Time seen);

// Finds the processes of one libvirt's running domains, by the pid files NAME.pid in a directory.
// libvirt escapes some characters of NAME there: FindProcessesInNamespace finds what this does not.
// Such a number is only believed where that process is a QEMU that was started with the domain's
// UUID, or the libvirt_lxc of the container: a libvirt in a container counts other pids than we do.
// A link is not followed there, nor a name that leads elsewhere. A look begins, waits for the
// process's command line, has its result, and is forgotten. Loop thread; never waits.
class DomainProcesses {
 public:
  // Null `command_lines`: no process is found.
  explicit DomainProcesses(CommandLines* command_lines, bool containers = false)
      : command_lines_(command_lines), containers_(containers) {}
  void set_directory(std::string directory) { directory_ = std::move(directory); }
  // Turns looks off if the numbers in the files are of another PID namespace: they mean nothing
  // here.
  void set_foreign(bool foreign) { foreign_ = foreign; }
  bool can_look() const { return command_lines_ != nullptr && !directory_.empty() && !foreign_; }

  // Begins a look, unless there is one. Without `has_descriptors` its result is an error.
  void Begin(const DomainName& domain, bool has_descriptors, absl::Duration now);
  // Returns whether the look for that domain still waits, for at most 100 ms.
  bool Waits(const std::string& uuid, absl::Duration now) const;
  // Returns a process of kind kUntracked if there is no such process here, its command line does
  // not come, or no look began; kGone with the pid if the file has one that nobody has (any more),
  // or only a process that began after the file was written. RESOURCE_EXHAUSTED: no descriptor
  // left.
  absl::StatusOr<PeerProcess> Find(const DomainName& domain) const;
  // Returns whether a look found that libvirt has removed the pid file, or has not made one.
  bool HasNoPidFile(const std::string& uuid) const;
  // The number that a look found in the pid file; 0: none.
  int64_t PidInFile(const std::string& uuid) const;
  void Forget(const std::string& uuid) { looks_.erase(uuid); }
  void Clear() { looks_.clear(); }

 private:
  struct Look {
    absl::StatusOr<PeerProcess> process;  // the pid file's; it keeps its number
    std::shared_ptr<const CommandLines::Read> command_line;
    absl::Duration not_after;
    bool no_pid_file = false;
    int64_t pid_in_file = 0;
    bool younger_than_file = false;  // the process began after it
  };

  // Sets the look's process, whatever it was started with, and what the pid file says. A container
  // needs no file: its id is the number.
  void ReadPidFile(const DomainName& domain, Look* look) const;
  static void SetProcess(int64_t pid, absl::Time written, Look* look);

  CommandLines* const command_lines_;
  const bool containers_;
  std::string directory_;
  bool foreign_ = false;
  absl::flat_hash_map<std::string, Look> looks_;  // keyed by UUID
};

// The PID namespace of the process that serves the Unix socket `address`, if that is not this
// process's own: of a libvirt in a container. 0: it cannot be seen from here. Unset: this process's
// own, or the socket cannot be connected to. Never waits.
std::optional<uint64_t> ForeignPidNamespaceBehind(const UnixAddress& address);

// The processes of a PID namespace that were started with one of these domains' UUIDs, by UUID: a
// look at all processes of /proc, which takes some milliseconds. A process that keeps its command
// line to itself is left out after 100 ms, and holds a thread of `command_lines`, which are of this
// namespace alone: a pod can have processes in no namespace but its own.
absl::flat_hash_map<std::string, PeerProcess> FindProcessesInNamespace(
    uint64_t pid_namespace, const absl::flat_hash_set<std::string>& uuids,
    CommandLines* command_lines);

}  // namespace vmeventd
