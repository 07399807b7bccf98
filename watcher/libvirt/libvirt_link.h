#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/detached_threads.h"
#include "base/mutex.h"
#include "base/system.h"
#include "base/unix_address.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/specs.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/process.h"

namespace vmeventd {

// Returns the directory of pid files of the libvirt that serves `socket` (empty: where libvirt
// itself looks).
std::string PidDirectory(const LibvirtSpec& spec, const std::string& socket);

// The PID namespace of the process that serves the Unix socket `address`, if that is not this
// process's own: of a libvirt in a container. 0: it is not visible from here. Unset: this process's
// own, or the socket cannot be connected to. Never waits.
std::optional<uint64_t> ForeignPidNamespaceBehind(const UnixAddress& address);

// The process of a running domain, at the time of a look.
struct DomainProcess {
  PeerProcess process;         // kUntracked: there is none, or it is not visible
  bool visible = false;        // a QEMU of the domain would be found, if there was one
  bool no_descriptor = false;  // the look took more descriptors than there are
};

// The place of the processes of one libvirt's domains.
struct ProcessPlace {
  std::string pid_directory;                  // has the pid files NAME.pid
  bool containers = false;                    // the domains' ids are the numbers of their processes
  std::optional<uint64_t> foreign_namespace;  // as from ForeignPidNamespaceBehind
};

// Finds the processes of `domains`, in their order. A number that libvirt has given is believed if
// that process was started with the domain's UUID, or is the libvirt_lxc of the container. A QEMU
// that no such number leads to is looked for by its UUID among all processes of the namespace:
// libvirt escapes some characters of NAME in the pid file's name, and a pod has PIDs of its own. A
// process whose command line does not come within 100 ms is not found, and holds a thread of
// `command_lines`, which are of this libvirt alone. Blocks for some milliseconds, or for 100 ms.
std::vector<DomainProcess> FindProcesses(const ProcessPlace& place,
                                         const std::vector<DomainName>& domains,
                                         CommandLines* command_lines);

// Messages of libvirt's threads to the loop thread.

// The domains that run at some moment. The first one shows that the connection was made. Events
// that came while it was listed precede it; they may be older or newer than the list.
struct DomainsListed {
  std::vector<ActiveDomain> domains;
};
struct ProcessFound {  // result of a look for the domain's process
  DomainName domain;   // as it was asked for
  DomainProcess result;
};
struct DetailsKnown {
  std::string uuid;
  DomainDetails details;
};
using LibvirtMessage = std::variant<DomainsListed, LinkClosed, DomainEvent, DomainChanged,
                                    ProcessFound, DetailsKnown, DetailsChanged>;

// The messages of one attempt to connect, and of the connection that it led to. Its backlog has a
// limit: one that reaches it is closed, so that the domains are listed and compared again. Any
// thread.
class LibvirtInbox {
 public:
  static constexpr size_t kMaxBytes = 8 << 20;

  // `wake` is an eventfd of all inboxes, which is written when a message comes.
  explicit LibvirtInbox(std::shared_ptr<const UniqueFd> wake) : wake_(std::move(wake)) {}

  void Post(LibvirtMessage message);
  // Takes the first kBatch messages that wait.
  std::vector<LibvirtMessage> Take();
  // Drops its messages, and those that come.
  void Close();

 private:
  static constexpr size_t kBatch = 64;

  const std::shared_ptr<const UniqueFd> wake_;
  Mutex mutex_;
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;     // of its messages
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;  // LinkClosed is its last message
  std::deque<LibvirtMessage> messages_ ABSL_GUARDED_BY(mutex_);
};

// One connection to a libvirt: makes its blocking calls, one after another, on one of the threads,
// which it has while there is something to do. A libvirt that hangs holds up this thread alone.
// Loop thread.
class LibvirtLink {
 public:
  // `threads` outlives the link. `wake` is an eventfd that is written when messages wait. `socket`:
  // empty: where libvirt itself looks for it.
  LibvirtLink(std::shared_ptr<LibvirtApi> api, std::shared_ptr<const UniqueFd> wake,
              DetachedThreads* threads, LibvirtSpec spec, std::string socket, bool finds_processes);
  // Closes the connection, without waiting for that.
  ~LibvirtLink();

  // Closes the connection if there is one, makes another and lists its domains: DomainsListed and
  // so on, or LinkClosed, follow as messages.
  void Open();
  // Closes the connection, whose messages are dropped.
  void Close();
  // Takes some of the messages that wait.
  std::vector<LibvirtMessage> Take() {
    return inbox_ == nullptr ? std::vector<LibvirtMessage>() : inbox_->Take();
  }
  // Lists the domains again: DomainsListed follows, or nothing if libvirt cannot list them.
  void ListAgain();
  // Asks for a domain's details: DetailsKnown follows, unless the domain is gone by then.
  void AskDetails(const std::string& uuid);

  // Looks for the domain's process: ProcessFound follows, unless the connection ends before that.
  void FindProcess(const DomainName& domain);

  // Returns whether calls are under way, or wait for a thread.
  bool busy() const;
  // Returns whether they wait for one.
  bool waits_for_thread() const;

 private:
  struct Requests;
  struct Shared;

  void Ask(const std::function<void(Requests*)>& add);
  static void Work(Shared* shared);

  const std::shared_ptr<Shared> shared_;
  const std::shared_ptr<const UniqueFd> wake_;
  DetachedThreads* const threads_;
  std::shared_ptr<LibvirtInbox> inbox_;  // null: closed
};

}  // namespace vmeventd
