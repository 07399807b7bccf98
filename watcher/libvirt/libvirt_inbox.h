#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "watcher/core/qmp_message.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/runs/process.h"

namespace vmeventd {

// Messages of libvirt's threads to the loop thread. A connection that was made begins with
// LinkOpened, which has the list of its domains. Events that came before that list was there
// follow, older or newer than it: of each domain the list is what stood before its first event.
// Then a DomainListed for each, and DomainsListed.
struct LinkOpened {
  std::vector<ActiveDomain> domains;
  // Newest id of each domain, by UUID, in the list and in the events before it. A libvirtd counts
  // its ids upwards: a life with an older one is over.
  absl::flat_hash_map<std::string, int64_t> newest_ids;
  int64_t libvirtd_began_ns = 0;  // RunInfo's
  bool foreign_pids = false;      // the libvirt counts other PIDs than we do
};
struct DomainListed {
  std::string uuid;
};
struct DomainsListed {};
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
struct DetailsKnown {
  std::string uuid;
  DomainDetails details;
};
struct DetailsChanged {
  std::string uuid;
};
struct EndKept {  // end of a life while vmeventd was away
  std::string uuid;
  std::optional<ManagerEnd> end;  // unset: libvirt's report is of no use
  std::string what;               // for people
};
struct ProcessFound {   // result of a look in its libvirt's PID namespace
  DomainName domain;    // the requested one
  PeerProcess process;  // with the domain's UUID; kUntracked: none is visible
};
using LibvirtMessage =
    std::variant<LinkOpened, DomainListed, DomainsListed, DomainsListedAgain, LinkClosed,
                 DomainEvent, DomainChanged, DetailsKnown, DetailsChanged, EndKept, ProcessFound>;

// One attempt to connect a link, and the connection that it led to. No two have the same number.
using AttemptId = uint64_t;

// The queue between libvirt's threads and the loop thread. Each attempt has a backlog limit; one
// that reaches it is closed and its backlog dropped, so that the domains are listed and compared
// again. Attempts take turns. Any thread but for Take.
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
  // Posts the first list of an attempt, as the messages above.
  void PostList(AttemptId attempt, std::vector<ActiveDomain> domains, bool foreign_pids = false,
                int64_t libvirtd_began_ns = 0);

  // A paused attempt is handed out again once it goes on; it is still bounded.
  void SetPaused(AttemptId attempt, bool paused);

  struct Entry {
    AttemptId attempt;
    LibvirtMessage message;
  };
  // Takes the waiting messages, of the attempts in turn, at most kBatch of each. Loop thread.
  std::vector<Entry> Take();
  // Descriptor that is readable while messages wait.
  int fd() const { return wake_.get(); }

 private:
  struct Queue {
    std::deque<LibvirtMessage> messages;
    size_t bytes = 0;
    bool held = true;     // waits for its first list
    bool paused = false;  // the consumer has paused it
    bool ready = false;   // it is in ready_
    bool closed = false;  // LinkClosed is its last message
  };
  static constexpr size_t kBatch = 16;

  explicit LibvirtInbox(UniqueFd wake) : wake_(std::move(wake)) {}
  Queue* Find(AttemptId attempt) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Wake();
  // Has Take hand out what is in the queue, if anything.
  void Release(AttemptId attempt, Queue* queue) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const UniqueFd wake_;
  Mutex mutex_;
  absl::flat_hash_map<AttemptId, Queue> queues_ ABSL_GUARDED_BY(mutex_);
  std::deque<AttemptId> ready_ ABSL_GUARDED_BY(mutex_);  // attempts with messages to hand out
};

}  // namespace vmeventd
