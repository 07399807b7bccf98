#include "watcher/libvirt/libvirt_inbox.h"

#include <sys/eventfd.h>

#include <utility>

namespace vmeventd {
namespace {

// Approximate memory of a message.
size_t BytesOf(const LibvirtMessage& message) {
  constexpr size_t kOfAny = 512;
  constexpr size_t kOfEach = 256;
  if (const auto* event = std::get_if<DomainEvent>(&message)) {
    return kOfAny + 3 * event->event.detail_json.size();  // parsed: some bytes for each value
  }
  if (const auto* listed = std::get_if<DomainsListed>(&message)) {
    return kOfAny + kOfEach * listed->domains.size();
  }
  const auto* const known = std::get_if<DetailsKnown>(&message);
  return kOfAny + (known == nullptr ? 0 : kOfEach * known->details.labels.size());
}

}  // namespace

void LibvirtInbox::Post(LibvirtMessage message) {
  const MutexLock lock(&mutex_);
  if (closed_) return;
  size_t bytes = BytesOf(message);
  if (bytes_ + bytes > kMaxBytes && !std::holds_alternative<LinkClosed>(message)) {
    message = LinkClosed{"events arrived faster than vmeventd could read them", /*overflow=*/true};
    bytes = BytesOf(message);
  }
  closed_ = std::holds_alternative<LinkClosed>(message);
  bytes_ += bytes;
  if (messages_.empty()) eventfd_write(wake_->get(), 1);  // a counter that is full wakes as well
  messages_.push_back(std::move(message));
}

std::vector<LibvirtMessage> LibvirtInbox::Take() {
  const MutexLock lock(&mutex_);
  std::vector<LibvirtMessage> taken;
  while (taken.size() < kBatch && !messages_.empty()) {
    bytes_ -= BytesOf(messages_.front());
    taken.push_back(std::move(messages_.front()));
    messages_.pop_front();
  }
  return taken;
}

void LibvirtInbox::Close() {
  const MutexLock lock(&mutex_);
  closed_ = true;
  messages_.clear();
}

}  // namespace vmeventd
