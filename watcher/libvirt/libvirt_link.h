#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/detached_threads.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "watcher/core/specs.h"
#include "watcher/libvirt/domain_process.h"
#include "watcher/libvirt/libvirt_api.h"

namespace vmeventd {

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
