#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "watcher/libvirt/domain_process.h"
#include "watcher/libvirt/domain_xml.h"
#include "watcher/libvirt/libvirt_api.h"

namespace vmeventd {

// Messages of libvirt's threads to the loop thread.

// The domains that ran at some moment. The first such message shows that the connection was made.
// Events that came during the listing precede it; they may be older or newer than the list.
struct DomainsListed {
  std::vector<ActiveDomain> domains;
};
struct ProcessFound {  // result of a look for the domain's process
  DomainName domain;   // as in the request
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
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;     // size of its messages
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;  // LinkClosed is its last message
  std::deque<LibvirtMessage> messages_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd
