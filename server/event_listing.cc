#include "server/event_listing.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

constexpr size_t kReadBytes = 256 * 1024;
constexpr size_t kMaxScanCost = 5'000'000;  // comparisons

// Walks over events in one direction and collects a page of them.
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
    const bool room = page_.events.empty() || page_.events.size() + entry.bytes <= max_bytes_;
    if (count_ == bounds_.page_size || !room) {
      page_.next = entry.sequence;
      return false;
    }
    const grpc::Slice bytes = block.Encoded(index, index + 1);
    page_.events.append(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
    ++count_;
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
};

absl::Status Evicted(uint64_t sequence, const EventStore::Range& range) {
  return absl::OutOfRangeError(
      absl::StrCat("page_token: sequence ", sequence,
                   ", where this page begins, is no longer retained: the oldest retained sequence "
                   "is ",
                   range.oldest));
}

absl::Status ListForward(const EventStore& store, uint64_t from, Lister* lister) {
  for (uint64_t next = from;;) {
    const EventStore::Page page = store.ReadFrom(next, kReadBytes);
    if (next != 0 && next < page.range.oldest) return Evicted(next, page.range);
    if (page.blocks.empty()) return absl::OkStatus();
    for (const EventBlockPtr& block : page.blocks) {
      for (uint64_t at = std::max(next, block->first_sequence()); at <= block->last_sequence();
           ++at) {
        if (!lister->Take(*block, at - block->first_sequence())) return absl::OkStatus();
      }
      next = block->last_sequence() + 1;
    }
  }
}

absl::Status ListBackward(const EventStore& store, uint64_t from, Lister* lister) {
  const uint64_t begin = from == 0 ? store.range().newest : from;
  for (uint64_t next = begin; next != 0;) {
    const EventStore::Page page = store.ReadBackFrom(next, kReadBytes);
    if (from != 0 && from < page.range.oldest) return Evicted(from, page.range);
    if (page.blocks.empty()) return absl::OkStatus();
    for (const EventBlockPtr& block : page.blocks) {
      for (uint64_t at = std::min(next, block->last_sequence()); at >= block->first_sequence();
           --at) {
        if (!lister->Take(*block, at - block->first_sequence())) return absl::OkStatus();
      }
      next = block->first_sequence() - 1;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<EventListing> ListEventsFrom(const EventStore& store, const EventMatcher& matcher,
                                            const ListEventsBounds& bounds, bool newest_first,
                                            uint64_t from, size_t max_bytes) {
  Lister lister(matcher, bounds, max_bytes);
  const absl::Status status =
      newest_first ? ListBackward(store, from, &lister) : ListForward(store, from, &lister);
  if (!status.ok()) return status;
  return std::move(lister).page();
}

}  // namespace vmeventd
