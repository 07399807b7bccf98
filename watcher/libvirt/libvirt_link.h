#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "base/detached_threads.h"
#include "base/mutex.h"
#include "base/system.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/specs.h"
#include "watcher/libvirt/domain_process.h"
#include "watcher/libvirt/libvirt_api.h"

namespace vmeventd {

// Messages of libvirt's threads to the loop thread. A connection that was made begins with
// LinkOpened, which has the list of its domains. Events that came before that list was there
// follow; they may be older or newer than it.
struct LinkOpened {
  std::vector<ActiveDomain> domains;
  // UUIDs of which a STARTED or STOPPED follows, and of which an event of QEMU does.
  absl::flat_hash_set<std::string> changed, heard;
};
struct DomainsListedAgain {  // sent while it is open
  std::vector<ActiveDomain> domains;
};
struct LinkClosed {  // also sent if it was never opened
  std::string why;
  bool overflow = false;  // its backlog exceeded the limit
};
struct DomainEvent {
  DomainName domain;
  QmpEvent event;
};
struct DomainChanged {
  DomainName domain;
  DomainLifecycle lifecycle;
};
struct ProcessFound {  // result of a look for the domain's process
  DomainName domain;   // as it was asked for
  DomainProcess result;
};
struct DetailsKnown {
  std::string uuid;
  DomainDetails details;
};
struct DetailsChanged {
  std::string uuid;
};
using LibvirtMessage = std::variant<LinkOpened, DomainsListedAgain, LinkClosed, DomainEvent,
                                    DomainChanged, ProcessFound, DetailsKnown, DetailsChanged>;

// One attempt to connect a link, and the connection that it led to. No two have the same number.
using AttemptId = uint64_t;

// The queue between libvirt's threads and the loop thread. Each attempt has a backlog limit; one
// that reaches it is closed, so that the domains are listed and compared again. Any thread but for
// Take.
class LibvirtInbox {
 public:
  static constexpr size_t kMaxBytes = 8 << 20;  // backlog limit of one attempt

  // The error names the call that failed.
  static absl::StatusOr<std::shared_ptr<LibvirtInbox>> Create();

  // Accepts messages of `attempt` from now on. Those of an attempt that was forgotten, or not
  // begun, are dropped.
  void Begin(AttemptId attempt);
  void Forget(AttemptId attempt);

  // Posts a message. One before PostList waits for it, and is dropped if LinkClosed comes instead.
  void Post(AttemptId attempt, LibvirtMessage message);
  // Posts the first list of an attempt, as LinkOpened.
  void PostList(AttemptId attempt, std::vector<ActiveDomain> domains);

  struct Entry {
    AttemptId attempt;
    LibvirtMessage message;
  };
  // Takes the first kBatch messages that wait. Loop thread.
  std::vector<Entry> Take();
  // Descriptor that is readable while messages wait.
  int fd() const { return wake_.get(); }

 private:
  struct Attempt {
    size_t bytes = 0;                  // of its messages
    bool listed = false;               // its first list was posted, or it was closed before
    bool closed = false;               // LinkClosed is its last message
    std::vector<LibvirtMessage> held;  // what waits for that list
  };
  static constexpr size_t kBatch = 64;

  explicit LibvirtInbox(UniqueFd wake) : wake_(std::move(wake)) {}
  // Null: nobody wants its messages.
  Attempt* Find(AttemptId attempt) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Push(AttemptId attempt, LibvirtMessage message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const UniqueFd wake_;
  Mutex mutex_;
  absl::flat_hash_map<AttemptId, Attempt> attempts_ ABSL_GUARDED_BY(mutex_);
  std::deque<Entry> messages_ ABSL_GUARDED_BY(mutex_);
};

// One connection to a libvirt: makes its blocking calls, one after another, on one of the threads,
// which it has while there is something to do. A libvirt that hangs holds up this thread alone.
// Results are posted to the inbox. Loop thread.
class LibvirtLink {
 public:
  struct Place {
    std::string socket;  // empty: where libvirt itself looks for it
    bool finds_processes = false;
    std::string pid_directory;  // has the pid files of its domains and its own
  };
  // `threads` outlives the link.
  LibvirtLink(std::shared_ptr<LibvirtApi> api, std::shared_ptr<LibvirtInbox> inbox,
              DetachedThreads* threads, LibvirtSpec spec, Place place);
  // Closes the connection, without waiting for that.
  ~LibvirtLink();

  // Closes the connection if there is one, makes another and lists its domains: LinkOpened and so
  // on, or LinkClosed, follow as messages of `attempt`.
  void Open(AttemptId attempt);
  // Closes the connection. What it has posted is forgotten.
  void Close();
  // Lists the domains again: DomainsListedAgain follows, or nothing if libvirt cannot list them.
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
  struct Shared;

  void Do(std::function<void(Shared*)> task);
  // Does `task` if there is a connection then; no-op while one of the same `name` is pending.
  void DoOnce(const std::string& name, std::function<void(Shared*)> task);
  // Replaces all pending tasks by `task`.
  void DoInstead(std::function<void(Shared*)> task);
  static void Work(Shared* shared);

  const std::shared_ptr<Shared> shared_;
  DetachedThreads* const threads_;
  AttemptId attempt_ = 0;
};

}  // namespace vmeventd
