#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/eventlog/event_log_parts.h"
#include "server/eventlog/journal_reader.h"
#include "server/eventlog/unreadable.h"

namespace vmeventd {
namespace {

constexpr size_t kReadBytes = size_t{256} << 10;

// A turn ends after this many steps of a matcher; each row that is examined counts as kRowSteps ...
constexpr size_t kTurnSteps = 1'000'000;
constexpr size_t kRowSteps = 10;
// ... and after this many windows of the journal's sequences. Each window is one statement, in
// which blocks and events that do not match are skipped; that takes a few milliseconds.
constexpr uint64_t kWindow = 10'000;
constexpr int kTurnWindows = 2;

// Collects a turn's events, which arrive in one direction.
class Lister {
 public:
  Lister(const EventMatcher& matcher, const ListBounds& bounds, size_t max_bytes)
      : matcher_(matcher), bounds_(bounds), max_bytes_(max_bytes) {}

  // False: the turn is over, and `next` is set.
  bool Take(const EventBlock::Entry& entry, absl::string_view encoded) {
    if (steps_ >= kTurnSteps) return EndTurn(entry.sequence);
    steps_ += kRowSteps;
    if (entry.observe_time < bounds_.start || entry.observe_time >= bounds_.end ||
        !matcher_.Matches(entry, encoded, &steps_)) {
      return true;
    }
    const bool room = turn_.count == 0 || turn_.events.size() + encoded.size() <= max_bytes_;
    if (turn_.count == bounds_.page_size || !room) {
      turn_.next = entry.sequence;
      return false;
    }
    turn_.events.append(encoded.data(), encoded.size());
    ++turn_.count;
    return true;
  }

  // Takes the matching events of the journal in [first, last]. False: the turn is over.
  absl::StatusOr<bool> TakeFrom(JournalReader* journal, uint64_t first, uint64_t last,
                                bool newest_first) {
    bool more = true;
    const absl::Status status =
        journal->Select({&matcher_, bounds_.start, bounds_.end, first, last, newest_first},
                        [&](const EventBlock::Entry& entry, absl::string_view encoded) {
                          return more = Take(entry, encoded);
                        });
    if (!status.ok()) return status;
    ++windows_;
    return more;
  }

  // Ends the turn before `next` if it has searched enough windows. False: it has not.
  bool EndIfLong(uint64_t next) { return windows_ >= kTurnWindows && !EndTurn(next); }

  EventListing turn() && { return std::move(turn_); }

 private:
  bool EndTurn(uint64_t next) {
    turn_.next = next;
    turn_.in_turn = false;
    return false;
  }

  const EventMatcher& matcher_;
  const ListBounds& bounds_;
  const size_t max_bytes_;
  EventListing turn_;
  size_t steps_ = 0;
  int windows_ = 0;
};

absl::Status Deleted(uint64_t sequence, uint64_t oldest) {
  return absl::OutOfRangeError(
      absl::StrCat("page_token: sequence ", sequence,
                   ", where this page begins, is no longer retained: the oldest retained sequence "
                   "is ",
                   oldest));
}

// Narrows [first, last] to the journal's sequences that can lie within the bounds' times.
absl::Status NarrowToTimes(JournalReader* journal, const ListBounds& bounds, uint64_t* first,
                           uint64_t* last) {
  if (bounds.start > absl::InfinitePast()) {
    const absl::StatusOr<uint64_t> since = journal->FirstSince(bounds.start);
    if (!since.ok()) return since.status();
    *first = std::max(*first, *since == 0 ? *last + 1 : *since);
  }
  if (bounds.end < absl::InfiniteFuture()) {
    const absl::StatusOr<uint64_t> before = journal->LastBefore(bounds.end);
    if (!before.ok()) return before.status();
    *last = std::min(*last, *before);
  }
  return absl::OkStatus();
}

// Lists the journal from `from`, or from the oldest event, up to `last`, in either order. False:
// the turn is over. Reads in one view, so that retention cannot interfere.
absl::StatusOr<bool> ListJournal(JournalReader* journal, const ListBounds& bounds, ListFrom from,
                                 uint64_t last, bool newest_first, Lister* lister) {
  const ReadSnapshot snapshot = journal->Snapshot();
  if (!snapshot.status().ok()) return snapshot.status();
  const absl::StatusOr<uint64_t> oldest = journal->Oldest();
  if (!oldest.ok()) return oldest.status();
  const absl::StatusOr<uint64_t> unbroken_from = journal->UnbrokenFrom();
  if (!unbroken_from.ok()) return unbroken_from.status();
  if (from.named && from.sequence < *unbroken_from) return Deleted(from.sequence, *oldest);
  uint64_t first = std::max({from.sequence, *oldest, uint64_t{1}});
  if (absl::Status status = NarrowToTimes(journal, bounds, &first, &last); !status.ok()) {
    return status;
  }
  while (first <= last) {
    const bool is_one = last - first < kWindow;
    const uint64_t begin = newest_first && !is_one ? last - kWindow + 1 : first;
    const uint64_t end = newest_first || is_one ? last : first + kWindow - 1;
    const absl::StatusOr<bool> more = lister->TakeFrom(journal, begin, end, newest_first);
    if (!more.ok()) return more.status();
    if (!*more) return false;
    if (is_one) break;
    if (newest_first) {
      last = begin - 1;
    } else {
      first = end + 1;
    }
    if (lister->EndIfLong(newest_first ? last : first)) return false;
  }
  return true;
}

absl::Status ListForward(const LiveState& live_state, JournalReader* journal,
                         const ListBounds& bounds, ListFrom from, Lister* lister) {
  for (uint64_t next = from.sequence;; from.named = false) {
    const ReadResult read = live_state.Read(next, {.max_bytes = kReadBytes});
    if (from.named && read.out_of_range) return Deleted(next, read.range.oldest);
    if (read.history.has_value()) {
      const absl::StatusOr<bool> more =
          ListJournal(journal, bounds, {next, from.named}, read.history->last, false, lister);
      if (!more.ok() || !*more) return more.status();
      next = read.history->last + 1;
      continue;
    }
    if (read.blocks.empty()) return absl::OkStatus();
    for (const EventBlockPtr& block : read.blocks) {
      // The ring may still hold events that retention has deleted.
      for (uint64_t at = std::max({next, block->first_sequence(), read.range.oldest});
           at <= block->last_sequence(); ++at) {
        const size_t index = at - block->first_sequence();
        if (!lister->Take(block->at(index), block->EncodedView(index))) return absl::OkStatus();
      }
      next = block->last_sequence() + 1;
    }
  }
}

absl::Status ListBackward(const LiveState& live_state, JournalReader* journal,
                          const ListBounds& bounds, ListFrom from, Lister* lister) {
  const uint64_t begin = from.sequence == 0 ? live_state.range().newest : from.sequence;
  for (uint64_t next = begin; next != 0; from.named = false) {
    const ReadResult read = live_state.Read(next, {.max_bytes = kReadBytes, .backward = true});
    if (from.named && read.out_of_range) return Deleted(next, read.range.oldest);
    if (read.history.has_value()) {
      return ListJournal(journal, bounds, {}, next, true, lister).status();
    }
    for (const EventBlockPtr& block : read.blocks) {
      for (uint64_t at = std::min(next, block->last_sequence());
           at >= std::max(block->first_sequence(), read.range.oldest); --at) {
        const size_t index = at - block->first_sequence();
        if (!lister->Take(block->at(index), block->EncodedView(index))) return absl::OkStatus();
      }
      next = block->first_sequence() - 1;
      if (next < read.range.oldest) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<EventListing> EventLog::List(JournalReader* journal, const EventMatcher& matcher,
                                            const ListBounds& bounds, bool newest_first,
                                            ListFrom from, size_t max_bytes) const {
  Lister lister(matcher, bounds, max_bytes);
  const LiveState& live_state = parts_->live_state;
  absl::Status status = newest_first ? ListBackward(live_state, journal, bounds, from, &lister)
                                     : ListForward(live_state, journal, bounds, from, &lister);
  if (from.sequence != 0 && ReadErrorPlace(status).empty()) {
    SetReadErrorPlace(absl::StrCat(newest_first ? "before " : "from ", "event ", from.sequence),
                      &status);
  }
  if (!status.ok()) return status;
  return std::move(lister).turn();
}

}  // namespace vmeventd
