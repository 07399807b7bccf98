#include "server/events/event_block.h"

#include <algorithm>
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
  if (!vms_known_.load(std::memory_order_acquire)) FindVms();
  const Key& key = keys_[index];
  const char* const bytes = reinterpret_cast<const char*>(bytes_.begin());
  return {.sequence = first_sequence_ + index,
          .vm_name = absl::string_view(bytes + key.name_offset, key.name_size),
          .run_id = absl::string_view(bytes + key.run_id_offset, key.run_id_size),
          .source = absl::string_view(bytes + key.source_offset, key.source_size),
          .type = static_cast<v1::EventType>(key.type),
          .shutdown_class = static_cast<v1::ShutdownClass>(key.shutdown_class),
          .observe_time = absl::FromUnixNanos(key.observe_ns),
          .bytes = key.end - begin_of(index)};
}

void EventBlock::FindVms() const {
  const MutexLock lock(&find_vms_);
  if (vms_known_.load(std::memory_order_relaxed)) return;
  const char* const bytes = reinterpret_cast<const char*>(bytes_.begin());
  const auto offset_of = [bytes](absl::string_view text) {
    return static_cast<uint32_t>(text.empty() ? 0 : text.data() - bytes);
  };
  for (size_t i = 0; i < keys_.size(); ++i) {
    const VmRefView vm = VmInEventField(EncodedView(i));
    Key* const key = &keys_[i];
    key->name_offset = offset_of(vm.name);
    key->run_id_offset = offset_of(vm.run_id);
    key->source_offset = offset_of(vm.source);
    key->name_size = static_cast<uint16_t>(vm.name.size());
    key->run_id_size = static_cast<uint16_t>(vm.run_id.size());
    key->source_size = static_cast<uint16_t>(vm.source.size());
  }
  vms_known_.store(true, std::memory_order_release);
}

size_t EventBlock::EndWithin(size_t from, size_t bytes) const {
  const auto past = std::upper_bound(keys_.begin() + static_cast<ptrdiff_t>(from), keys_.end(),
                                     begin_of(from) + bytes,
                                     [](size_t end, const Key& key) { return end < key.end; });
  return static_cast<size_t>(past - keys_.begin());
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

void EventBlockBuilder::Add(v1::Event* event) {
  AppendEventField(event, &bytes_);
  AddKey(event->sequence(), event->type(), event->shutdown().class_(),
         FromTimestamp(event->observe_time()));
}

void EventBlockBuilder::AddStored(const EventBlock::Entry& key, absl::string_view stored) {
  AppendStoredEvent(stored, {key.vm_name, key.run_id, key.source}, &bytes_);
  AddKey(key.sequence, key.type, key.shutdown_class, key.observe_time);
}

void EventBlockBuilder::AddKey(uint64_t sequence, v1::EventType type,
                               v1::ShutdownClass shutdown_class, absl::Time observe_time) {
  if (empty()) block_->first_sequence_ = sequence;
  block_->keys_.push_back({.observe_ns = absl::ToUnixNanos(observe_time),
                           .end = static_cast<uint32_t>(bytes_.size()),
                           .type = static_cast<uint8_t>(type),
                           .shutdown_class = static_cast<uint8_t>(shutdown_class)});
}

EventBlockPtr EventBlockBuilder::Finish() {
  block_->bytes_ = grpc::Slice(bytes_);
  block_->keys_.shrink_to_fit();
  bytes_.clear();
  return std::exchange(block_, std::shared_ptr<EventBlock>(new EventBlock));
}

}  // namespace vmeventd
