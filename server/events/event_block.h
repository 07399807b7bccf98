#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpcpp/support/slice.h"
#include "server/events/event_codec.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// A run of events with consecutive sequences, encoded once as durable ones, side by side, so that a
// stream that lacks all of them takes one piece of shared memory. Immutable, so that any thread
// reads it without a lock.
class EventBlock {
 public:
  // An event, and its fields that a filter and a time range look at. The views live as long as the
  // block.
  struct Entry {
    uint64_t sequence = 0;
    v1::EventType type{};
    v1::ShutdownClass shutdown_class{};  // UNSPECIFIED if the event has none
    absl::Time observe_time;
    StoredEvent stored{};

    bool is_of_node() const { return stored.vm_ref.empty(); }
  };

  uint64_t first_sequence() const { return first_sequence_; }
  uint64_t last_sequence() const { return first_sequence_ + size() - 1; }
  size_t size() const { return keys_.size(); }
  // Monotonic time at which the block became public, to measure its way to a client. Zero: not
  // known, it was read from the journal. Set once, before others can read it.
  absl::Duration published() const { return published_; }
  void SetPublished(absl::Duration at) const { published_ = at; }
  // Approximate memory of the block.
  size_t memory() const;

  Entry at(size_t index) const;
  // The encodings of the events [from, to) as `events` fields. Shares the block's memory.
  grpc::Slice Encoded(size_t from, size_t to) const {
    return bytes_.sub(begin_of(from), begin_of(to));
  }
  // Copy of these encodings in which the events are not durable.
  grpc::Slice EncodedNotDurable(size_t from, size_t to) const;
  // Encoding of one event; lives as long as the block.
  absl::string_view EncodedView(size_t index) const;

 private:
  friend class EventBlockBuilder;
  struct Key {
    int64_t observe_ns;
    uint32_t end;          // end of its encoding in bytes_
    uint32_t stored_size;  // of StoredEvent::event
    uint8_t type;
    uint8_t shutdown_class;
  };

  EventBlock() = default;
  size_t begin_of(size_t index) const { return index == 0 ? 0 : keys_[index - 1].end; }

  uint64_t first_sequence_ = 0;
  grpc::Slice bytes_;
  std::vector<Key> keys_;
  mutable absl::Duration published_;
};

using EventBlockPtr = std::shared_ptr<const EventBlock>;

// Collects events for one block. One thread.
class EventBlockBuilder {
 public:
  // A block takes no more events once it has this many bytes.
  static constexpr size_t kFullBytes = size_t{64} << 10;

  bool empty() const { return block_->keys_.empty(); }
  bool full() const { return bytes_.size() >= kFullBytes; }
  size_t bytes() const { return bytes_.size(); }

  // `event.sequence` is one more than that of the event before.
  void Add(v1::Event event);
  // Adds an event as the journal has it.
  void AddStored(const EventBlock::Entry& entry);
  // Returns the block, and empties the builder.
  EventBlockPtr Finish();

 private:
  std::shared_ptr<EventBlock> block_{new EventBlock};
  std::string bytes_;
};

}  // namespace vmeventd
