#include "watcher/libvirt/libvirt_inbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/status/status.h"

namespace vmeventd {
namespace {

// What a message holds beyond its own size, about.
size_t BytesOf(const LibvirtMessage& message) {
  size_t bytes = sizeof(LibvirtMessage);
  if (const auto* event = std::get_if<DomainEvent>(&message); event != nullptr) {
    // Its data is parsed: some bytes for each value of it.
    bytes += event->domain.name.size() + 3 * event->event.detail_json.size() + 256;
  }
  if (const auto* listed = std::get_if<DomainListed>(&message); listed != nullptr) {
    bytes += listed->active.domain.name.size() + 64;
  }
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

void LibvirtInbox::Add(AttemptId attempt, Queue* queue, LibvirtMessage message) {
  ++queue->posted;
  // Take wakes itself again while something is left.
  if (ready_.empty()) Wake();
  if (queue->messages.empty()) ready_.push_back(attempt);
  queue->bytes += BytesOf(message);
  queue->closed = std::holds_alternative<LinkClosed>(message);
  queue->messages.push_back(std::move(message));
}

void LibvirtInbox::Wake() {
  const uint64_t one = 1;
  // A counter that is full wakes as well.
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof(one));
}

void LibvirtInbox::Post(AttemptId attempt, LibvirtMessage message) {
  const MutexLock lock(&mutex_);
  Queue* const queue = Find(attempt);
  if (queue == nullptr) return;
  if (queue->bytes + BytesOf(message) > kMaxBytes && !std::holds_alternative<LinkClosed>(message)) {
    message = LinkClosed{"more events came than are taken in", /*overflow=*/true};
  }
  Add(attempt, queue, std::move(message));
}

uint64_t LibvirtInbox::Posted(AttemptId attempt) {
  const MutexLock lock(&mutex_);
  Queue* const queue = Find(attempt);
  return queue == nullptr ? 0 : queue->posted;
}

bool LibvirtInbox::PostList(AttemptId attempt, std::vector<ActiveDomain> domains, uint64_t posted) {
  const MutexLock lock(&mutex_);
  Queue* const queue = Find(attempt);
  if (queue == nullptr) return true;  // nobody wants it
  if (queue->posted != posted) return false;
  Add(attempt, queue, LinkOpened());
  for (ActiveDomain& domain : domains) Add(attempt, queue, DomainListed{std::move(domain)});
  Add(attempt, queue, DomainsListed());
  return true;
}

std::vector<LibvirtInbox::Entry> LibvirtInbox::Take() {
  std::vector<Entry> entries;
  const MutexLock lock(&mutex_);
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t taken = read(wake_.get(), &count, sizeof(count));
  for (size_t turns = ready_.size(); turns > 0; --turns) {
    const AttemptId attempt = ready_.front();
    ready_.pop_front();
    const auto it = queues_.find(attempt);
    if (it == queues_.end()) continue;
    Queue* const queue = &it->second;
    for (size_t taken_of_it = 0; taken_of_it < kBatch && !queue->messages.empty(); ++taken_of_it) {
      queue->bytes -= BytesOf(queue->messages.front());
      entries.push_back({attempt, std::move(queue->messages.front())});
      queue->messages.pop_front();
    }
    if (!queue->messages.empty()) ready_.push_back(attempt);
  }
  if (!ready_.empty()) Wake();
  return entries;
}

}  // namespace vmeventd
