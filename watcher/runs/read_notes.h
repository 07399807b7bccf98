#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/counter.h"
#include "watcher/core/event_sink.h"

// Notes of what was read from monitors since the last state of their runs that the journal has, in
// memory that outlives this process: a crash then loses nothing of it.
//
// The bytes that a monitor has sent are counted; a place is such a count, and goes on over
// connections and daemons. A saved run says up to which place it has handled them
// (VmSession::heard). What the notes have from there on, and then the socket, is what the next
// daemon has to handle.
//
// A read goes straight into a desk within that memory, which is all NUL before it; QMP has no NUL.
// The kernel takes from a socket only what it has copied, and does not end a process in between. So
// whenever that is killed, what it has taken is in the socket, on the desk, or in the blocks of its
// run: at each step one store publishes what stands.

namespace vmeventd {

// Bytes that a crash has left of what was read from one monitor.
struct NotedReads {
  uint64_t least = 0;  // a saved run must have handled at least this, or it is older than the rest
  uint64_t begin = 0;  // the place of the first of `bytes`
  std::string bytes;

  // Returns what a run that has handled everything up to `heard` has still to handle, before what
  // its socket has. Unset: that is not known.
  std::optional<std::string> After(uint64_t heard) const;
};

// Loop thread, but for the counter.
class ReadNotes {
 public:
  struct Limits {
    uint32_t runs = 15'000;
    uint32_t blocks = 1 << 16;  // blocks of kBlockBytes; unused memory is not touched
  };
  static constexpr size_t kDeskBytes = 64 << 10;
  // Part of the memory that the kernel writes what is read into: it should not have to be fetched.
  static constexpr size_t kFirstBytes = 4096 + kDeskBytes;
  static constexpr size_t kBlockBytes = 256;
  // Limit of one run, so that none takes the blocks of the others.
  static constexpr size_t kMaxOfRun = 64 << 10;

  class Stream;

  static size_t BytesFor(const Limits& limits);
  // `memory` has BytesFor(limits) bytes, all NUL, and outlives the object. `owner` is what
  // ReadBack() is to be asked for.
  ReadNotes(absl::Span<char> memory, const Limits& limits, uint64_t owner);
  ReadNotes(const ReadNotes&) = delete;
  ReadNotes& operator=(const ReadNotes&) = delete;
  ~ReadNotes();

  // Begins to note what is read from a monitor; ReadBack() has it by `serial`, which is not 0 and
  // not used again. Nothing counts before Stream::Begin(). Null: there are Limits::runs of them.
  std::unique_ptr<Stream> Open(uint64_t serial);

  // The connection has ended, and its run with it or goes on by another one: the notes stay until
  // all that was pushed by the end of this turn is committed.
  void Retire(std::unique_ptr<Stream> stream);
  // Returns whether there are notes by `serial`, and how many there are.
  bool Has(uint64_t serial) const { return serials_.contains(serial); }
  size_t size() const { return serials_.size(); }

  // Memory that is read into, of any monitor, between these two calls. `stream` may be null: then
  // nothing is noted. EndRead() gets how much that was; it stays on the desk until the next
  // BeginRead().
  absl::Span<char> desk() const;
  void BeginRead(Stream* stream);
  void EndRead(size_t bytes);

  // A turn of the loop is over: what its runs have pushed counts up to `progress.pushed`.
  void EndTurn(const SinkProgress& progress);

  // Reads what a daemon that is gone has left in its memory, by serial. INVALID_ARGUMENT: it is not
  // that of `owner`, or of another version.
  static absl::StatusOr<absl::flat_hash_map<uint64_t, NotedReads>> ReadBack(
      absl::string_view memory, uint64_t owner);

  // Number of times that something could not be noted: the run's end will be as after a crash
  // without notes, should one come before the journal has it. Any thread.
  uint64_t left_out() const { return left_out_.value(); }
  // Blocks in use.
  size_t used_blocks() const { return next_block_ - free_blocks_.size(); }

 private:
  struct Header;
  struct Entry;
  struct Block;

  Header* header() const;
  Entry* entry(size_t at) const;
  Block* block(size_t at) const;

  std::optional<uint32_t> TakeBlock();
  void FreeBlock(uint32_t at);

  const absl::Span<char> memory_;
  const Limits limits_;
  // Free ones of those before next_*: memory beyond was never touched.
  std::vector<uint32_t> free_entries_;
  std::vector<uint32_t> free_blocks_;
  uint32_t next_entry_ = 0;
  uint32_t next_block_ = 0;
  absl::flat_hash_set<uint64_t> serials_;
  std::vector<Stream*> changed_;  // streams that EndTurn() has to look at
  struct Retired {
    std::unique_ptr<Stream> stream;
    std::optional<uint64_t> pushed;  // dropped once so many updates are committed; unset: this turn
  };
  std::vector<Retired> retired_;
  Stream* reading_ = nullptr;
  size_t dirty_ = 0;  // bytes of the desk
  Counter left_out_;
};

// The notes of one monitor's connection. Its destruction drops them.
class ReadNotes::Stream {
 public:
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Notes what is read from now on: it follows the place `heard`, up to which a saved run has
  // handled everything, and `unhandled`, which was read before.
  void Begin(uint64_t heard, absl::string_view unhandled);
  bool begun() const { return begun_; }
  // The newest saved run that was pushed, which says that it has handled all up to `saved`, holds
  // at the place `handled` too: nothing since has changed it.
  void Cover(uint64_t saved, uint64_t handled);
  // Drops all notes of this connection, now and later: the owner of the bytes is no longer known.
  void GiveUp();
  // Leaves the notes as they are: nothing more is read, and the run's successor may find nothing
  // else.
  void Leave() { left_ = true; }

 private:
  friend class ReadNotes;
  struct Noted {
    uint64_t end;  // the place after it
    uint32_t block;
  };
  struct Mark {
    uint64_t saved;
    uint64_t handled;
    uint64_t pushed;  // committed once so many updates are
  };

  Stream(ReadNotes* notes, uint32_t entry, uint64_t serial)
      : notes_(notes), entry_(entry), serial_(serial) {}

  void Append(absl::string_view bytes);
  // Returns whether all of it has a block.
  bool Store(absl::string_view bytes);
  void FreeBlocks(uint64_t before);
  // Drops what precedes `mark`: the journal has it.
  void Commit(const Mark& mark);
  // Returns whether a later turn has something to do for it.
  bool EndTurn(const SinkProgress& progress);

  ReadNotes* const notes_;
  const uint32_t entry_;
  const uint64_t serial_;
  uint64_t end_ = 0;    // the place after what was read
  uint64_t begin_ = 0;  // the first place that is still needed
  std::vector<Noted> blocks_;
  std::optional<Mark> fresh_;  // made in this turn
  std::optional<Mark> due_;    // the next to be committed
  std::optional<Mark> next_;   // the newest after `due_`
  bool begun_ = false;
  bool given_up_ = false;
  bool left_ = false;
  bool changed_ = false;  // it is in ReadNotes::changed_
};

}  // namespace vmeventd
