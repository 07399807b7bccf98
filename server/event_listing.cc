#include "server/event_listing.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

constexpr size_t kReadBytes = size_t{256} << 10;
constexpr size_t kMaxScanCost = 5'000'000;  // comparisons

// The journal is searched in windows of so many sequences, each one statement; a page ends after so
// many windows, so that a filter that matches nothing keeps nobody waiting.
constexpr uint64_t kWindow = 50'000;
constexpr int kMaxWindows = 6;

// Collects a page of events that come in one direction.
class Lister {
 public:
  Lister(const EventMatcher& matcher, const ListEventsBounds& bounds, size_t max_bytes)
      : matcher_(matcher), bounds_(bounds), max_bytes_(max_bytes) {}

  // False: the page is complete, and its `next` is set.
  bool Take(const EventBlock& block, size_t index) {
    const EventBlock::Entry entry = block.at(index);
    cost_ += matcher_.names().cost();
    if (cost_ > kMaxScanCost) {
      page_.next = entry.sequence;
      return false;
    }
    if (entry.observe_time < bounds_.start || entry.observe_time >= bounds_.end ||
        !matcher_.Matches(entry)) {
      return true;
    }
    return Add(entry, block.EncodedView(index));
  }

  // The same for an event that matches.
  bool Add(const EventBlock::Entry& entry, absl::string_view encoded) {
    const bool room = page_.events.empty() || page_.events.size() + encoded.size() <= max_bytes_;
    if (count_ == bounds_.page_size || !room) {
      page_.next = entry.sequence;
      return false;
    }
    page_.events.append(encoded.data(), encoded.size());
    ++count_;
    return true;
  }

  // Takes what matches of the journal's events [first, last]. False: the page is complete.
  absl::StatusOr<bool> AddFrom(JournalReader* journal, uint64_t first, uint64_t last,
                               bool newest_first) {
    bool more = true;
    const absl::Status status =
        journal->Select({&matcher_, bounds_.start, bounds_.end, first, last, newest_first},
                        [&](const EventBlock::Entry& entry, absl::string_view encoded) {
                          return more = Add(entry, encoded);
                        });
    if (!status.ok()) return status;
    ++windows_;
    return more;
  }

  // Ends the page before `next` where the search took long. False: it did not.
  bool EndIfLong(uint64_t next) {
    if (windows_ < kMaxWindows) return false;
    page_.next = next;
    return true;
  }

  EventListing page() && { return std::move(page_); }

 private:
  const EventMatcher& matcher_;
  const ListEventsBounds& bounds_;
  const size_t max_bytes_;
  EventListing page_;
  int count_ = 0;
  size_t cost_ = 0;
  int windows_ = 0;
};

absl::Status Deleted(uint64_t sequence, const EventStore::Range& range) {
  return absl::OutOfRangeError(
      absl::StrCat("page_token: sequence ", sequence,
                   ", where this page begins, is no longer retained: the oldest retained sequence "
                   "is ",
                   range.oldest));
}

// Which of the journal's sequences can be of those times: [first, last].
absl::Status NarrowToTimes(JournalReader* journal, const ListEventsBounds& bounds, uint64_t* first,
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

absl::Status ListForward(const EventStore& store, JournalReader* journal,
                         const ListEventsBounds& bounds, uint64_t from, Lister* lister) {
  bool narrowed = false;
  for (uint64_t next = from;;) {
    const EventStore::Page page = store.ReadFrom(next, kReadBytes);
    if (next != 0 && next == from && next < page.range.oldest) return Deleted(next, page.range);
    if (next < page.ring_oldest) {
      uint64_t first = std::max(next, page.range.oldest);
      uint64_t last = page.ring_oldest - 1;
      next = page.ring_oldest;
      if (!std::exchange(narrowed, true)) {
        if (absl::Status status = NarrowToTimes(journal, bounds, &first, &last); !status.ok()) {
          return status;
        }
      }
      for (; first <= last; first += kWindow) {
        const absl::StatusOr<bool> more =
            lister->AddFrom(journal, first, std::min(last, first + kWindow - 1), false);
        if (!more.ok()) return more.status();
        if (!*more || (first + kWindow <= last && lister->EndIfLong(first + kWindow))) {
          return absl::OkStatus();
        }
      }
      continue;
    }
    if (page.blocks.empty()) return absl::OkStatus();
    for (const EventBlockPtr& block : page.blocks) {
      // The ring may still hold what retention has deleted.
      for (uint64_t at = std::max({next, block->first_sequence(), page.range.oldest});
           at <= block->last_sequence(); ++at) {
        if (!lister->Take(*block, at - block->first_sequence())) return absl::OkStatus();
      }
      next = block->last_sequence() + 1;
    }
  }
}

absl::Status ListJournalBackward(JournalReader* journal, const ListEventsBounds& bounds,
                                 uint64_t first, uint64_t last, Lister* lister) {
  if (absl::Status status = NarrowToTimes(journal, bounds, &first, &last); !status.ok()) {
    return status;
  }
  while (first <= last && last != 0) {
    const uint64_t window = std::max(first, last < kWindow ? 1 : last - kWindow + 1);
    const absl::StatusOr<bool> more = lister->AddFrom(journal, window, last, true);
    if (!more.ok()) return more.status();
    last = window - 1;
    if (!*more || (first <= last && lister->EndIfLong(last))) return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status ListBackward(const EventStore& store, JournalReader* journal,
                          const ListEventsBounds& bounds, uint64_t from, Lister* lister) {
  const uint64_t begin = from == 0 ? store.range().newest : from;
  for (uint64_t next = begin; next != 0;) {
    const EventStore::Page page = store.ReadBackFrom(next, kReadBytes);
    if (from != 0 && from < page.range.oldest) return Deleted(from, page.range);
    if (page.blocks.empty()) {
      return ListJournalBackward(journal, bounds, page.range.oldest, next, lister);
    }
    for (const EventBlockPtr& block : page.blocks) {
      for (uint64_t at = std::min(next, block->last_sequence());
           at >= std::max(block->first_sequence(), page.range.oldest); --at) {
        if (!lister->Take(*block, at - block->first_sequence())) return absl::OkStatus();
      }
      next = block->first_sequence() - 1;
      if (next < page.range.oldest) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<EventListing> ListEventsFrom(const EventStore& store, JournalReader* journal,
                                            const EventMatcher& matcher,
                                            const ListEventsBounds& bounds, bool newest_first,
                                            uint64_t from, size_t max_bytes) {
  Lister lister(matcher, bounds, max_bytes);
  const absl::Status status = newest_first ? ListBackward(store, journal, bounds, from, &lister)
                                           : ListForward(store, journal, bounds, from, &lister);
  if (!status.ok()) return status;
  return std::move(lister).page();
}

}  // namespace vmeventd
