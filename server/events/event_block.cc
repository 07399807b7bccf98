#include "server/events/event_block.h"

#include <utility>

namespace vmeventd {
namespace {

// Approximate overhead of the allocator, the slice and the shared pointer of a block.
constexpr size_t kBlockOverhead = 160;

}  // namespace

size_t EventBlock::memory() const {
  return kBlockOverhead + sizeof(EventBlock) + bytes_.size() + keys_.capacity() * sizeof(Key);
}

EventBlock::Entry EventBlock::at(size_t index) const {
  const Key& key = keys_[index];
  return {.sequence = first_sequence_ + index,
          .type = static_cast<v1::EventType>(key.type),
          .shutdown_class = static_cast<v1::ShutdownClass>(key.shutdown_class),
          .observe_time = absl::FromUnixNanos(key.observe_ns),
          .stored = StoredEventOf(EncodedView(index), key.stored_size)};
}

absl::string_view EventBlock::EncodedView(size_t index) const {
  const char* const bytes = reinterpret_cast<const char*>(bytes_.begin());
  const size_t begin = begin_of(index);
  return {bytes + begin, keys_[index].end - begin};
}

grpc::Slice EventBlock::EncodedNotDurable(size_t from, size_t to) const {
  std::string bytes(reinterpret_cast<const char*>(bytes_.begin()) + begin_of(from),
                    begin_of(to) - begin_of(from));
  for (size_t i = from; i < to; ++i) bytes[keys_[i].end - begin_of(from) - 1] = 0;
  return grpc::Slice(bytes);
}

void EventBlockBuilder::Add(v1::Event event) {
  const std::string vm_ref = Serialized(event.vm());
  event.clear_vm();
  event.clear_durable();
  const std::string rest = Serialized(event);
  AddStored({.sequence = event.sequence(),
             .type = event.type(),
             .shutdown_class = event.shutdown().shutdown_class(),
             .observe_time = FromTimestamp(event.observe_time()),
             .stored = {rest, vm_ref}});
}

void EventBlockBuilder::AddStored(const EventBlock::Entry& entry) {
  if (empty()) block_->first_sequence_ = entry.sequence;
  AppendStoredEvent(entry.stored, &bytes_);
  block_->keys_.push_back({.observe_ns = absl::ToUnixNanos(entry.observe_time),
                           .end = static_cast<uint32_t>(bytes_.size()),
                           .stored_size = static_cast<uint32_t>(entry.stored.event.size()),
                           .type = static_cast<uint8_t>(entry.type),
                           .shutdown_class = static_cast<uint8_t>(entry.shutdown_class)});
}

EventBlockPtr EventBlockBuilder::Finish() {
  block_->bytes_ = grpc::Slice(bytes_);
  block_->keys_.shrink_to_fit();
  bytes_.clear();
  return std::exchange(block_, std::shared_ptr<EventBlock>(new EventBlock));
}

}  // namespace vmeventd
