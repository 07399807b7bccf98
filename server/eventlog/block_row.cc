#include "server/eventlog/block_row.h"

#include <endian.h>
#include <libdeflate.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

// Header of each event, before the encodings: its observe_time in nanoseconds since 1970, the size
// of its encoding, and the numbers of its type and class; little endian, without gaps.
constexpr size_t kTimeAt = 0;
constexpr size_t kSizeAt = 8;
constexpr size_t kTypeAt = 12;
constexpr size_t kClassAt = 13;
constexpr size_t kKeyBytes = 14;

constexpr size_t kHashBytes = sizeof(uint32_t);

int64_t TimeIn(const char* key) {
  uint64_t value = 0;
  std::memcpy(&value, key + kTimeAt, sizeof(value));
  return static_cast<int64_t>(le64toh(value));
}

uint32_t NumberIn(const char* bytes) {
  uint32_t value = 0;
  std::memcpy(&value, bytes, sizeof(value));
  return le32toh(value);
}

uint32_t SizeIn(const char* key) { return NumberIn(key + kSizeAt); }

void AppendNumber(uint32_t number, std::string* out) {
  const uint32_t little_endian = htole32(number);
  out->append(reinterpret_cast<const char*>(&little_endian), sizeof(little_endian));
}

absl::Status Damaged(const StoredBlock::Columns& columns) {
  return absl::DataLossError(
      columns.first == columns.last
          ? absl::StrCat("the journal's checksum of event ", columns.last, " is wrong")
          : absl::StrCat("the journal's checksum of events ", columns.first, " to ", columns.last,
                         " is wrong"));
}

}  // namespace

std::string NameHash(absl::string_view name) {
  std::string hash;
  AppendNumber(name.empty() ? 0 : libdeflate_crc32(0, name.data(), name.size()), &hash);
  return hash;
}

uint32_t BlockChecksum(const StoredBlock::Columns& columns) {
  std::array<uint64_t, 5> numbers = {
      columns.first, columns.last, static_cast<uint64_t>(columns.earliest_ns),
      static_cast<uint64_t>(columns.latest_ns), columns.names.size()};
  for (uint64_t& number : numbers) number = htole64(number);
  uint32_t crc = libdeflate_crc32(0, numbers.data(), sizeof(numbers));
  crc = libdeflate_crc32(crc, columns.names.data(), columns.names.size());
  return libdeflate_crc32(crc, columns.data.data(), columns.data.size());
}

absl::StatusOr<StoredBlock> StoredBlock::Make(const Columns& columns) {
  StoredBlock block(columns);
  if (BlockChecksum(columns) != columns.checksum || columns.first > columns.last ||
      columns.last - columns.first >= columns.data.size() / kKeyBytes) {
    return Damaged(columns);
  }
  const size_t count = columns.last - columns.first + 1;
  block.encodings_ = columns.data.substr(count * kKeyBytes);
  block.ends_.resize(count);
  uint64_t end = 0;
  const char* key = columns.data.data();
  for (uint32_t& of_event : block.ends_) {
    end += SizeIn(key);
    of_event = static_cast<uint32_t>(end);
    key += kKeyBytes;
    if (end > block.encodings_.size()) return Damaged(columns);
  }
  if (end != block.encodings_.size()) return Damaged(columns);
  return block;
}

absl::Time StoredBlock::TimeOf(uint64_t sequence) const {
  return absl::FromUnixNanos(
      TimeIn(columns_.data.data() + (sequence - columns_.first) * kKeyBytes));
}

bool StoredBlock::has_node_events() const {
  return absl::StartsWith(columns_.names, absl::string_view("\0\0\0\0", kHashBytes));
}

EventBlock::Entry StoredBlock::Key(uint64_t sequence) const {
  const size_t index = sequence - columns_.first;
  const char* const key = columns_.data.data() + index * kKeyBytes;
  return {.sequence = sequence,
          .type = static_cast<v1::EventType>(static_cast<uint8_t>(key[kTypeAt])),
          .shutdown_class = static_cast<v1::ShutdownClass>(static_cast<uint8_t>(key[kClassAt])),
          .observe_time = absl::FromUnixNanos(TimeIn(key)),
          .bytes = SizeIn(key)};
}

uint64_t StoredBlock::AppendTo(EventBlockBuilder* block, uint64_t from, uint64_t to,
                               size_t max_bytes) const {
  size_t bytes = 0;
  uint64_t through = from - 1;
  ForEach(from, to, false, [&](const EventBlock::Entry& key, absl::string_view encoded) {
    block->AddEncoded(key, encoded);
    bytes += encoded.size();
    through = key.sequence;
    return bytes < max_bytes;
  });
  return through;
}

void BlockRowBuilder::Extend(uint64_t first, uint64_t last) {
  if (std::exchange(finished_, false)) {
    keys_.clear();
    encodings_.clear();
    hashes_.clear();
    earliest_ns_ = INT64_MAX;
    latest_ns_ = INT64_MIN;
  }
  if (empty()) first_ = first;
  last_ = last;
}

void BlockRowBuilder::Add(const StoredBlock& block) {
  const StoredBlock::Columns& columns = block.columns();
  Extend(columns.first, columns.last);
  earliest_ns_ = std::min(earliest_ns_, columns.earliest_ns);
  latest_ns_ = std::max(latest_ns_, columns.latest_ns);
  const size_t keys = columns.data.size() - block.bytes();
  keys_.append(columns.data.data(), keys);
  encodings_.append(columns.data.data() + keys, block.bytes());
  for (size_t at = 0; at < columns.names.size(); at += kHashBytes) {
    hashes_.push_back(NumberIn(columns.names.data() + at));
  }
}

void BlockRowBuilder::Add(const EventBlock& block) {
  Extend(block.first_sequence(), block.last_sequence());
  absl::string_view name_before;
  for (size_t i = 0; i < block.size(); ++i) {
    const EventBlock::Entry entry = block.at(i);
    const int64_t time = absl::ToUnixNanos(entry.observe_time);
    earliest_ns_ = std::min(earliest_ns_, time);
    latest_ns_ = std::max(latest_ns_, time);
    const size_t at = keys_.size();
    keys_.resize(at + kKeyBytes);
    char* const key = keys_.data() + at;
    const uint64_t time_bytes = htole64(static_cast<uint64_t>(time));
    const uint32_t size_bytes = htole32(static_cast<uint32_t>(entry.bytes));
    std::memcpy(key + kTimeAt, &time_bytes, sizeof(time_bytes));
    std::memcpy(key + kSizeAt, &size_bytes, sizeof(size_bytes));
    key[kTypeAt] = static_cast<char>(entry.type);
    key[kClassAt] = static_cast<char>(entry.shutdown_class);
    if (i > 0 && entry.vm_name == name_before) continue;
    name_before = entry.vm_name;
    hashes_.push_back(entry.vm_name.empty()
                          ? 0
                          : libdeflate_crc32(0, entry.vm_name.data(), entry.vm_name.size()));
  }
  const absl::string_view encodings = block.encodings();
  encodings_.append(encodings.data(), encodings.size());
}

StoredBlock::Columns BlockRowBuilder::Finish(int64_t latest_ns) {
  finished_ = true;
  std::sort(hashes_.begin(), hashes_.end());
  hashes_.erase(std::unique(hashes_.begin(), hashes_.end()), hashes_.end());
  names_.clear();
  for (const uint32_t hash : hashes_) AppendNumber(hash, &names_);
  data_.clear();
  data_.reserve(keys_.size() + encodings_.size());
  data_.append(keys_).append(encodings_);
  StoredBlock::Columns columns = {.first = first_,
                                  .last = last_,
                                  .earliest_ns = earliest_ns_,
                                  .latest_ns = std::max(latest_ns, latest_ns_),
                                  .names = names_,
                                  .data = data_};
  columns.checksum = BlockChecksum(columns);
  return columns;
}

}  // namespace vmeventd
