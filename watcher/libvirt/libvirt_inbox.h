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
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "watcher/core/qmp_message.h"
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
  int64_t libvirtd_began_ns = 0;  // RunInfo's
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
struct EndKept {  // end of a life while vmeventd was away
  std::string uuid;
  std::optional<ManagerEnd> end;  // unset: libvirt's report is of no use
  std::string what;               // for people
};
using LibvirtMessage =
    std::variant<LinkOpened, DomainsListedAgain, LinkClosed, DomainEvent, DomainChanged,
                 ProcessFound, DetailsKnown, DetailsChanged, EndKept>;

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
  // Posts the first list of an attempt, as LinkOpened.
  void PostList(AttemptId attempt, std::vector<ActiveDomain> domains,
                int64_t libvirtd_began_ns = 0);

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
