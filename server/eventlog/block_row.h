#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/events/event_block.h"

// Rows of the journal's table `blocks`, as docs/journal.md describes them. Pure.

namespace vmeventd {

// A row that was read: events with consecutive sequences. Its views live as long as the bytes that
// it was made of.
class StoredBlock {
 public:
  struct Columns {
    uint64_t first = 0;  // sequences
    uint64_t last = 0;
    int64_t earliest_ns = 0;  // observe_time of these events
    int64_t latest_ns = 0;    // observe_time of these and all before
    int64_t checksum = 0;
    absl::string_view names;  // NameHash of each VM, ascending
    absl::string_view data;
  };
  // DATA_LOSS: the checksum is wrong, or the columns contradict each other.
  static absl::StatusOr<StoredBlock> Make(const Columns& columns);

  uint64_t first() const { return columns_.first; }
  uint64_t last() const { return columns_.last; }
  const Columns& columns() const { return columns_; }
  // Size of all encodings.
  size_t bytes() const { return encodings_.size(); }
  absl::Time TimeOf(uint64_t sequence) const;
  // Returns whether it has events of the node as a whole.
  bool has_node_events() const;

  // Calls `take` with the key (without its VM) and the encoding of each event of [from, to], in
  // that order or backwards, until it returns false. False: it did.
  template <typename Take>
  bool ForEach(uint64_t from, uint64_t to, bool backward, Take take) const;
  // Appends the events [from, to] to a block, as far as `max_bytes` reaches, one at the least.
  // Returns the last one.
  uint64_t AppendTo(EventBlockBuilder* block, uint64_t from, uint64_t to, size_t max_bytes) const;

 private:
  explicit StoredBlock(const Columns& columns) : columns_(columns) {}

  EventBlock::Entry Key(uint64_t sequence) const;

  Columns columns_;
  absl::string_view encodings_;
  std::vector<uint32_t> ends_;  // end of each encoding
};

// CRC-32 of the numbers but itself and of the size of `names`, 8 bytes each, then of both texts.
uint32_t BlockChecksum(const StoredBlock::Columns& columns);

// Collects events for one row. One thread.
class BlockRowBuilder {
 public:
  // A row takes no more events once their encodings have this many bytes.
  static constexpr size_t kFullBytes = EventBlockBuilder::kFullBytes;

  bool empty() const { return finished_ || keys_.empty(); }
  size_t bytes() const { return empty() ? 0 : encodings_.size(); }
  uint64_t first() const { return first_; }
  uint64_t last() const { return last_; }

  void Clear() { finished_ = true; }
  // `block` begins behind last().
  void Add(const EventBlock& block);
  void Add(const StoredBlock& block);
  // Returns the columns' values, whose views live until the next Add, and empties the builder.
  // `latest_ns` is that of all events before; a StoredBlock brings its own.
  StoredBlock::Columns Finish(int64_t latest_ns);

 private:
  // Adds the sequences of a block; its events follow.
  void Extend(uint64_t first, uint64_t last);

  uint64_t first_ = 0;
  uint64_t last_ = 0;
  int64_t earliest_ns_ = INT64_MAX;
  int64_t latest_ns_ = INT64_MIN;
  bool finished_ = false;
  std::string keys_;
  std::string encodings_;
  std::vector<uint32_t> hashes_;
  std::string names_;
  std::string data_;
};

// CRC-32 of a VM's name, as `names` holds it: 4 bytes, little endian. Zeros stand for events of the
// node as a whole.
std::string NameHash(absl::string_view name);

template <typename Take>
bool StoredBlock::ForEach(uint64_t from, uint64_t to, bool backward, Take take) const {
  for (uint64_t done = 0; done <= to - from; ++done) {
    const uint64_t sequence = backward ? to - done : from + done;
    const size_t index = sequence - columns_.first;
    const size_t begin = index == 0 ? 0 : ends_[index - 1];
    if (!take(Key(sequence), encodings_.substr(begin, ends_[index] - begin))) return false;
  }
  return true;
}

}  // namespace vmeventd
