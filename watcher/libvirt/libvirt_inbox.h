#ifndef VMEVENTD_WATCHER_LIBVIRT_LIBVIRT_INBOX_H_
#define VMEVENTD_WATCHER_LIBVIRT_LIBVIRT_INBOX_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
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

namespace vmeventd {

// What the threads of libvirt have for the loop thread. The domains of a connection that was made
// come as LinkOpened, a DomainListed each, and DomainsListed.
struct LinkOpened {};
struct DomainListed {
  ActiveDomain active;
};
struct DomainsListed {};
struct LinkClosed {  // or it was never opened
  std::string why;
  bool overflow = false;  // more came than is kept
};
struct DomainEvent {
  DomainName domain;
  QmpEvent event;
};
struct DomainChanged {
  DomainName domain;
  DomainLifecycle lifecycle;
};
struct AgentChanged {
  DomainName domain;
};
struct AgentKnown {
  std::string uuid;
  GuestAgentInfo info;
};
using LibvirtMessage = std::variant<LinkOpened, DomainListed, DomainsListed, LinkClosed,
                                    DomainEvent, DomainChanged, AgentChanged, AgentKnown>;

// One attempt to connect a link, and the connection that it led to. No two have the same number.
using AttemptId = uint64_t;

// The queue between libvirt's threads and the loop thread. Each attempt has a bound; one that
// reaches it is closed, with what it has not delivered left out, so that the domains are listed and
// compared again. Attempts take turns. Any thread but for Take.
class LibvirtInbox {
 public:
  static constexpr size_t kMaxBytes = 8 << 20;  // of one attempt that wait

  // The error names the call that failed.
  static absl::StatusOr<std::shared_ptr<LibvirtInbox>> Create();

  // Nothing of an attempt that was forgotten, or not begun, is taken in.
  void Begin(AttemptId attempt);
  void Forget(AttemptId attempt);

  void Post(AttemptId attempt, LibvirtMessage message);
  // How many messages of the attempt were posted so far.
  uint64_t Posted(AttemptId attempt);
  // Posts a list of domains as the messages above, unless something was posted since `posted`: the
  // list may then be older than that. Returns whether it did.
  bool PostList(AttemptId attempt, std::vector<ActiveDomain> domains, uint64_t posted);

  struct Entry {
    AttemptId attempt;
    LibvirtMessage message;
  };
  // What waits, of the attempts in turn, at most kBatch of each. Loop thread.
  std::vector<Entry> Take();
  // Is readable while something waits.
  int fd() const { return wake_.get(); }

 private:
  struct Queue {
    std::deque<LibvirtMessage> messages;
    size_t bytes = 0;
    uint64_t posted = 0;
    bool closed = false;  // LinkClosed is its last message
  };
  static constexpr size_t kBatch = 16;

  explicit LibvirtInbox(UniqueFd wake) : wake_(std::move(wake)) {}
  Queue* Find(AttemptId attempt) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Wake();
  void Add(AttemptId attempt, Queue* queue, LibvirtMessage message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const UniqueFd wake_;
  Mutex mutex_;
  absl::flat_hash_map<AttemptId, Queue> queues_ ABSL_GUARDED_BY(mutex_);
  std::deque<AttemptId> ready_ ABSL_GUARDED_BY(mutex_);  // that have messages, each once
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_LIBVIRT_LIBVIRT_INBOX_H_
