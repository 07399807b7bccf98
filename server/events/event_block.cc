#include "server/events/event_block.h"

#include <utility>

#include "server/events/event_codec.h"

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
  const absl::string_view vm_ref = VmRefAtEnd(EncodedView(index), key.vm_ref_size);
  const VmNames vm = NamesOf(vm_ref);
  return {.sequence = first_sequence_ + index,
          .vm_name = vm.name,
          .run_id = vm.run_id,
          .source = vm.source,
          .vm_ref = vm_ref,
          .type = static_cast<v1::EventType>(key.type),
          .shutdown_class = static_cast<v1::ShutdownClass>(key.shutdown_class),
          .observe_time = absl::FromUnixNanos(key.observe_ns)};
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
  EventBlock::Entry key = {.sequence = event.sequence(),
                           .type = event.type(),
                           .shutdown_class = event.shutdown().shutdown_class(),
                           .observe_time = FromTimestamp(event.observe_time())};
  const size_t vm_ref_size = AppendEventField(std::move(event), &bytes_);
  key.vm_ref = VmRefAtEnd(bytes_, vm_ref_size);
  AddKey(key);
}

void EventBlockBuilder::AddStored(const EventBlock::Entry& key, absl::string_view stored) {
  AppendStoredEvent(stored, key.vm_ref, &bytes_);
  AddKey(key);
}

void EventBlockBuilder::AddKey(const EventBlock::Entry& key) {
  if (empty()) block_->first_sequence_ = key.sequence;
  block_->keys_.push_back({.observe_ns = absl::ToUnixNanos(key.observe_time),
                           .end = static_cast<uint32_t>(bytes_.size()),
                           .vm_ref_size = static_cast<uint32_t>(key.vm_ref.size()),
                           .type = static_cast<uint8_t>(key.type),
                           .shutdown_class = static_cast<uint8_t>(key.shutdown_class)});
}

EventBlockPtr EventBlockBuilder::Finish() {
  block_->bytes_ = grpc::Slice(bytes_);
  block_->keys_.shrink_to_fit();
  bytes_.clear();
  return std::exchange(block_, std::shared_ptr<EventBlock>(new EventBlock));
}

}  // namespace vmeventd
