#include "watcher/runs/read_notes.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

constexpr uint64_t kMagic = 0x31736574'6f6e6d76;  // "vmnotes1"
constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();
constexpr size_t kPage = 4096;

// Publishes a value to a reader after a crash: a reader that sees it sees all earlier stores.
template <typename T>
void Set(T* to, T value) {
  std::atomic_ref<T>(*to).store(value, std::memory_order_release);
}

size_t WholePages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

}  // namespace

struct ReadNotes::Header {
  uint64_t magic;
  uint64_t owner;
  uint32_t runs;
  uint32_t blocks;
  uint32_t used_runs;  // number of entries ever used
  uint32_t used_blocks;
  // Serial of the desk; 0: nothing is read.
  uint64_t desk_serial;
  uint64_t desk_begin;
  uint64_t desk_bytes;  // 0: up to its last byte that is not NUL
};

// Entry of a run.
struct ReadNotes::Entry {
  uint64_t serial;  // 0: free
  uint64_t least;   // see NotedReads
  uint64_t begin;   // the first place that is needed
  uint64_t end;     // the place after what is in blocks
};

struct ReadNotes::Block {
  static constexpr size_t kRoom = kBlockBytes - 20;
  uint64_t serial;  // its owner's; 0: free
  uint64_t begin;
  uint32_t bytes;
  char data[kRoom];
};

namespace {

// Places of the parts: the header, the desk, the entries, the blocks.
struct Layout {
  size_t desk = kPage;
  size_t entries = ReadNotes::kFirstBytes;
  size_t blocks = 0;
  size_t end = 0;

  Layout(const ReadNotes::Limits& limits, size_t entry_bytes)
      : blocks(entries + WholePages(limits.runs * entry_bytes)),
        end(blocks + limits.blocks * ReadNotes::kBlockBytes) {}
};

}  // namespace

size_t ReadNotes::BytesFor(const Limits& limits) { return Layout(limits, sizeof(Entry)).end; }

ReadNotes::ReadNotes(absl::Span<char> memory, const Limits& limits, uint64_t owner)
    : memory_(memory), limits_(limits) {
  static_assert(sizeof(Header) <= kPage && kFirstBytes == kPage + kDeskBytes);
  static_assert(sizeof(Block) == kBlockBytes);
  header()->owner = owner;
  header()->runs = limits.runs;
  header()->blocks = limits.blocks;
  Set(&header()->magic, kMagic);
}

ReadNotes::~ReadNotes() { retired_.clear(); }

ReadNotes::Header* ReadNotes::header() const { return reinterpret_cast<Header*>(memory_.data()); }

ReadNotes::Entry* ReadNotes::entry(size_t at) const {
  const size_t entries = Layout(limits_, sizeof(Entry)).entries;
  return reinterpret_cast<Entry*>(memory_.data() + entries) + at;
}

ReadNotes::Block* ReadNotes::block(size_t at) const {
  const size_t blocks = Layout(limits_, sizeof(Entry)).blocks;
  return reinterpret_cast<Block*>(memory_.data() + blocks) + at;
}

absl::Span<char> ReadNotes::desk() const {
  return memory_.subspan(Layout(limits_, sizeof(Entry)).desk, kDeskBytes);
}

std::unique_ptr<ReadNotes::Stream> ReadNotes::Open(uint64_t serial) {
  uint32_t at = next_entry_;
  if (!free_entries_.empty()) {
    at = free_entries_.back();
    free_entries_.pop_back();
  } else if (next_entry_ < limits_.runs) {
    Set(&header()->used_runs, ++next_entry_);
  } else {
    left_out_.Add();
    return nullptr;
  }
  serials_.insert(serial);
  return std::unique_ptr<Stream>(new Stream(this, at, serial));
}

void ReadNotes::Retire(std::unique_ptr<Stream> stream) {
  retired_.push_back({std::move(stream), std::nullopt});
}

std::optional<uint32_t> ReadNotes::TakeBlock() {
  if (!free_blocks_.empty()) {
    const uint32_t at = free_blocks_.back();
    free_blocks_.pop_back();
    return at;
  }
  if (next_block_ == limits_.blocks) return std::nullopt;
  Set(&header()->used_blocks, ++next_block_);
  return next_block_ - 1;
}

void ReadNotes::FreeBlock(uint32_t at) {
  Set(&block(at)->serial, uint64_t{0});
  free_blocks_.push_back(at);
}

void ReadNotes::BeginRead(Stream* stream) {
  reading_ = stream != nullptr && stream->begun_ && !stream->given_up_ ? stream : nullptr;
  if (reading_ == nullptr) return;
  std::memset(desk().data(), 0, std::exchange(dirty_, 0));
  header()->desk_begin = reading_->end_;
  header()->desk_bytes = 0;
  Set(&header()->desk_serial, reading_->serial_);
}

void ReadNotes::EndRead(size_t bytes) {
  dirty_ = std::max(dirty_, bytes);
  if (reading_ == nullptr) return;
  if (bytes > 0) {
    Set(&header()->desk_bytes, uint64_t{bytes});
    reading_->Append({desk().data(), bytes});
  }
  Set(&header()->desk_serial, uint64_t{0});
  reading_ = nullptr;
}

void ReadNotes::EndTurn(const SinkProgress& progress) {
  for (Retired& each : retired_) {
    if (!each.pushed.has_value()) each.pushed = progress.pushed;
  }
  std::erase_if(retired_,
                [&progress](const Retired& each) { return *each.pushed <= progress.committed; });
  std::erase_if(changed_, [&progress](Stream* stream) {
    stream->changed_ = stream->EndTurn(progress);
    return !stream->changed_;
  });
}

// A stream

ReadNotes::Stream::~Stream() {
  notes_->serials_.erase(serial_);
  if (notes_->reading_ == this) notes_->reading_ = nullptr;
  if (changed_) std::erase(notes_->changed_, this);
  if (left_) return;
  Set(&notes_->entry(entry_)->serial, uint64_t{0});
  FreeBlocks(kNever);
  notes_->free_entries_.push_back(entry_);
}

void ReadNotes::Stream::Begin(uint64_t heard, absl::string_view unhandled) {
  Entry* const entry = notes_->entry(entry_);
  entry->least = entry->begin = entry->end = begin_ = end_ = heard;
  begun_ = true;
  Append(unhandled);
  Set(&entry->serial, serial_);
}

void ReadNotes::Stream::Append(absl::string_view bytes) {
  Entry* const entry = notes_->entry(entry_);
  if (Store(bytes)) return Set(&entry->end, end_);
  // Missing bytes do not matter to a saved run that has handled them.
  notes_->left_out_.Add();
  Set(&entry->least, end_);
  begin_ = end_;
  Set(&entry->begin, end_);
  Set(&entry->end, end_);
  FreeBlocks(kNever);
}

bool ReadNotes::Stream::Store(absl::string_view bytes) {
  const uint64_t end = end_ + bytes.size();
  while (!bytes.empty()) {
    Block* last = blocks_.empty() ? nullptr : notes_->block(blocks_.back().block);
    if (last == nullptr || last->bytes == Block::kRoom) {
      const bool full = (blocks_.size() + 1) * Block::kRoom > kMaxOfRun;
      const std::optional<uint32_t> taken = full ? std::nullopt : notes_->TakeBlock();
      if (!taken.has_value()) {
        end_ = end;
        return false;
      }
      last = notes_->block(*taken);
      last->begin = end_;
      last->bytes = 0;
      Set(&last->serial, serial_);
      blocks_.push_back({end_, *taken});
    }
    const size_t size = std::min(bytes.size(), Block::kRoom - last->bytes);
    std::memcpy(last->data + last->bytes, bytes.data(), size);
    Set(&last->bytes, static_cast<uint32_t>(last->bytes + size));
    blocks_.back().end = end_ += size;
    bytes.remove_prefix(size);
  }
  return true;
}

void ReadNotes::Stream::FreeBlocks(uint64_t before) {
  const auto kept = std::find_if(blocks_.begin(), blocks_.end(),
                                 [before](const Noted& noted) { return noted.end > before; });
  for (auto it = blocks_.begin(); it != kept; ++it) notes_->FreeBlock(it->block);
  blocks_.erase(blocks_.begin(), kept);
  if (blocks_.empty()) blocks_ = {};  // an idle monitor holds no memory
}

void ReadNotes::Stream::Cover(uint64_t saved, uint64_t handled) {
  if (!begun_ || given_up_ || handled <= begin_) return;
  fresh_ = {saved, handled, 0};
  if (!std::exchange(changed_, true)) notes_->changed_.push_back(this);
}

bool ReadNotes::Stream::EndTurn(const SinkProgress& progress) {
  if (fresh_.has_value()) {
    fresh_->pushed = progress.pushed;
    (due_.has_value() ? next_ : due_) = std::exchange(fresh_, std::nullopt);
  }
  while (due_.has_value() && due_->pushed <= progress.committed) {
    Commit(*due_);
    due_ = std::exchange(next_, std::nullopt);
  }
  return due_.has_value();
}

void ReadNotes::Stream::Commit(const Mark& mark) {
  if (given_up_ || mark.handled <= begin_) return;
  Entry* const entry = notes_->entry(entry_);
  begin_ = mark.handled;
  Set(&entry->least, mark.saved);
  Set(&entry->begin, begin_);
  FreeBlocks(begin_);
}

void ReadNotes::Stream::GiveUp() {
  if (!begun_ || std::exchange(given_up_, true)) return;
  notes_->left_out_.Add();
  Set(&notes_->entry(entry_)->least, kNever);
  FreeBlocks(kNever);
}

// After a crash

std::optional<std::string> NotedReads::After(uint64_t heard) const {
  const uint64_t from = std::max(heard, begin);
  if (heard < least || from - begin > bytes.size()) return std::nullopt;
  return bytes.substr(from - begin);
}

absl::StatusOr<absl::flat_hash_map<uint64_t, NotedReads>> ReadNotes::ReadBack(
    absl::string_view memory, uint64_t owner) {
  const absl::Status wrong = absl::InvalidArgumentError("notes of another vmeventd");
  Header header{};
  if (memory.size() < kPage) return wrong;
  std::memcpy(&header, memory.data(), sizeof(header));
  const Limits limits{header.runs, header.blocks};
  if (header.magic != kMagic || header.owner != owner || memory.size() != BytesFor(limits) ||
      header.used_runs > header.runs || header.used_blocks > header.blocks) {
    return wrong;
  }
  const Layout layout(limits, sizeof(Entry));
  struct Found {
    Entry entry;
    std::vector<Block> blocks;
  };
  absl::flat_hash_map<uint64_t, Found> found;
  for (size_t i = 0; i < header.used_runs; ++i) {
    Entry entry{};
    std::memcpy(&entry, memory.data() + layout.entries + i * sizeof(Entry), sizeof(entry));
    if (entry.serial != 0) found[entry.serial].entry = entry;
  }
  for (size_t i = 0; i < header.used_blocks; ++i) {
    Block block{};
    std::memcpy(&block, memory.data() + layout.blocks + i * sizeof(Block), sizeof(block));
    const auto of = found.find(block.serial);
    if (of != found.end() && block.bytes <= Block::kRoom) of->second.blocks.push_back(block);
  }
  absl::flat_hash_map<uint64_t, NotedReads> all;
  for (auto& [serial, run] : found) {
    const Entry& entry = run.entry;
    std::sort(run.blocks.begin(), run.blocks.end(),
              [](const Block& a, const Block& b) { return a.begin < b.begin; });
    NotedReads& reads = all[serial];
    reads = {entry.least, entry.begin, ""};
    // Appends bytes that follow on what is there.
    const auto add = [&reads](uint64_t begin, absl::string_view bytes) {
      const uint64_t end = reads.begin + reads.bytes.size();
      if (begin > end || begin + bytes.size() <= end) return;
      bytes.remove_prefix(end - begin);
      reads.bytes.append(bytes.data(), bytes.size());
    };
    for (const Block& block : run.blocks) add(block.begin, {block.data, block.bytes});
    if (header.desk_serial == serial) {
      absl::string_view desk = memory.substr(layout.desk, kDeskBytes);
      desk = desk.substr(
          0, header.desk_bytes != 0 ? header.desk_bytes : desk.find_last_not_of('\0') + 1);
      add(header.desk_begin, desk);
    }
    if (reads.begin + reads.bytes.size() < entry.end) reads.least = kNever;
  }
  return all;
}

}  // namespace vmeventd
