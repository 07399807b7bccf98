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

// Returns the directory of pid files of the libvirt that serves `socket` (empty: libvirt's
// default).
std::string PidDirectory(const LibvirtSpec& spec, const std::string& socket);

// Returns the PID namespace of the process that serves the Unix socket `address`, if it differs
// from this process's own (as for a libvirt in a container). 0: it is not visible from here. Unset:
// it is this process's own, or the socket cannot be connected to. Does not block.
std::optional<uint64_t> ForeignPidNamespaceBehind(const UnixAddress& address);

// The process of a running domain, at the time of a look.
struct DomainProcess {
  PeerProcess process;         // kUntracked: there is none, or it is not visible
  bool visible = false;        // if the domain had a QEMU, it would be found
  bool no_descriptor = false;  // no descriptor was left for the look
};

// Where to look for the processes of one libvirt's domains.
struct ProcessPlace {
  std::string pid_directory;                  // contains the pid files NAME.pid
  bool containers = false;                    // each domain's id is the pid of its process
  std::optional<uint64_t> foreign_namespace;  // result of ForeignPidNamespaceBehind()
};

// Finds the processes of `domains`, in the same order. A pid that libvirt gave counts only if that
// process was started with the domain's UUID, or is the libvirt_lxc of the container. A QEMU
// without such a pid is looked for by its UUID among all processes of the namespace: libvirt
// escapes some characters of NAME in the pid file's name, and a pod has its own PIDs. A process
// whose command line is not read within 100 ms is not found, and occupies a thread of
// `command_lines`, which serve only this libvirt. Blocks for some milliseconds, at most 100 ms for
// each 256 processes at which it looks.
std::vector<DomainProcess> FindProcesses(const ProcessPlace& place,
                                         const std::vector<DomainName>& domains,
                                         CommandLines* command_lines);

// Messages of libvirt's threads to the loop thread.

// The domains that ran at some moment. The first such message shows that the connection was made.
// Events that came during the listing precede it; they may be older or newer than the list.
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

// The messages of one attempt to connect, and of the connection that it led to. A backlog that
// reaches kMaxBytes closes the connection, so that the domains are listed and compared again. Any
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

// One connection to a libvirt. Makes the blocking calls one after another, on a thread that it
// takes from `threads` while there is something to do. A libvirt that hangs blocks only this
// thread. Loop thread.
class LibvirtLink {
 public:
  // `threads` outlives the link. `wake` is an eventfd that is written when messages wait. `socket`
  // empty: libvirt's own default.
  LibvirtLink(std::shared_ptr<LibvirtApi> api, std::shared_ptr<const UniqueFd> wake,
              DetachedThreads* threads, LibvirtSpec spec, std::string socket, bool finds_processes);
  // Closes the connection in the background.
  ~LibvirtLink();

  // Closes the connection if there is one, makes another and lists its domains. Messages follow:
  // DomainsListed and its events, or LinkClosed.
  void Open();
  // Closes the connection, whose messages are dropped.
  void Close();
  // Takes some of the messages that wait.
  std::vector<LibvirtMessage> Take() {
    return inbox_ == nullptr ? std::vector<LibvirtMessage>() : inbox_->Take();
  }
  // Lists the domains again: DomainsListed follows, or LinkClosed if libvirt cannot list them.
  void ListAgain();
  // Asks for a domain's details: DetailsKnown follows, unless the domain is gone by then, or the
  // log says why they cannot be read.
  void AskDetails(const std::string& uuid);

  // Looks for the domain's process: ProcessFound follows, unless the connection ends before that.
  void FindProcess(const DomainName& domain);

  // Returns whether calls are under way, or wait for a thread.
  bool busy() const;
  // Returns whether calls wait for a thread.
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
