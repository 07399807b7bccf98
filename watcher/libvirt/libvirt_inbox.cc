#include "watcher/libvirt/libvirt_inbox.h"

#include <sys/eventfd.h>

#include <cerrno>
#include <utility>

#include "absl/status/status.h"

namespace vmeventd {
namespace {

// Approximate memory that a message holds beyond its own size.
size_t BytesOf(const LibvirtMessage& message) {
  size_t bytes = sizeof(LibvirtMessage);
  if (const auto* event = std::get_if<DomainEvent>(&message); event != nullptr) {
    // Its data is parsed: some bytes for each value of it.
    bytes += event->domain.name.size() + 3 * event->event.detail_json.size() + 256;
  }
  const auto add_list = [&bytes](const std::vector<ActiveDomain>& domains) {
    for (const ActiveDomain& active : domains) {
      bytes += sizeof(ActiveDomain) + active.domain.name.size() + 64;
    }
  };
  if (const auto* known = std::get_if<DetailsKnown>(&message); known != nullptr) {
    for (const auto& [key, value] : known->details.labels) {
      bytes += 2 * sizeof(std::string) + key.size() + value.size();
    }
  }
  if (const auto* opened = std::get_if<LinkOpened>(&message)) add_list(opened->domains);
  if (const auto* again = std::get_if<DomainsListedAgain>(&message)) add_list(again->domains);
  return bytes;
}

}  // namespace

absl::StatusOr<std::shared_ptr<LibvirtInbox>> LibvirtInbox::Create() {
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return absl::ErrnoToStatus(errno, "eventfd");
  return std::shared_ptr<LibvirtInbox>(new LibvirtInbox(std::move(wake)));
}

void LibvirtInbox::Begin(AttemptId attempt) {
  const MutexLock lock(&mutex_);
  queues_.try_emplace(attempt);
}

void LibvirtInbox::Forget(AttemptId attempt) {
  const MutexLock lock(&mutex_);
  queues_.erase(attempt);
}

LibvirtInbox::Queue* LibvirtInbox::Find(AttemptId attempt) {
  const auto it = queues_.find(attempt);
  return it == queues_.end() || it->second.closed ? nullptr : &it->second;
}

void LibvirtInbox::Release(AttemptId attempt, Queue* queue) {
  if (queue->held || queue->ready || queue->messages.empty()) return;
  // Take wakes itself again while something is left.
  if (ready_.empty()) Wake();
  queue->ready = true;
  ready_.push_back(attempt);
}

// A counter that is full wakes as well.
void LibvirtInbox::Wake() { eventfd_write(wake_.get(), 1); }

void LibvirtInbox::Post(AttemptId attempt, LibvirtMessage message) {
  const MutexLock lock(&mutex_);
  Queue* const queue = Find(attempt);
  if (queue == nullptr) return;
  if (queue->bytes + BytesOf(message) > kMaxBytes && !std::holds_alternative<LinkClosed>(message)) {
    message = LinkClosed{"more events came than are taken in", /*overflow=*/true};
  }
  if (std::holds_alternative<LinkClosed>(message)) {
    queue->closed = true;
    if (std::exchange(queue->held, false)) {
      queue->messages.clear();
      queue->bytes = 0;
    }
  }
  queue->bytes += BytesOf(message);
  queue->messages.push_back(std::move(message));
  Release(attempt, queue);
}

void LibvirtInbox::PostList(AttemptId attempt, std::vector<ActiveDomain> domains,
                            int64_t libvirtd_began_ns) {
  const MutexLock lock(&mutex_);
  Queue* const queue = Find(attempt);
  if (queue == nullptr) return;  // nobody wants it
  LinkOpened opened{.domains = std::move(domains),
                    .changed = {},
                    .heard = {},
                    .libvirtd_began_ns = libvirtd_began_ns};
  for (const LibvirtMessage& message : queue->messages) {
    const auto* const change = std::get_if<DomainChanged>(&message);
    if (change != nullptr) opened.changed.insert(change->domain.uuid);
    const auto* const event = std::get_if<DomainEvent>(&message);
    if (event != nullptr) opened.heard.insert(event->domain.uuid);
  }
  LibvirtMessage first = std::move(opened);
  queue->bytes += BytesOf(first);
  queue->messages.push_front(std::move(first));
  queue->held = false;
  Release(attempt, queue);
}

std::vector<LibvirtInbox::Entry> LibvirtInbox::Take() {
  std::vector<Entry> entries;
  const MutexLock lock(&mutex_);
  eventfd_t ignored;
  eventfd_read(wake_.get(), &ignored);
  for (size_t turns = ready_.size(); turns > 0; --turns) {
    const AttemptId attempt = ready_.front();
    ready_.pop_front();
    const auto it = queues_.find(attempt);
    if (it == queues_.end()) continue;
    Queue* const queue = &it->second;
    queue->ready = false;
    for (size_t taken_of_it = 0; taken_of_it < kBatch && !queue->messages.empty(); ++taken_of_it) {
      queue->bytes -= BytesOf(queue->messages.front());
      entries.push_back({attempt, std::move(queue->messages.front())});
      queue->messages.pop_front();
    }
    if (queue->messages.empty()) continue;
    queue->ready = true;
    ready_.push_back(attempt);
  }
  if (!ready_.empty()) Wake();
  return entries;
}

}  // namespace vmeventd
