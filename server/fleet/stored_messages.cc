#include "server/fleet/stored_messages.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

using Where = FleetSink::Where;

// The first event of a journal at the places [from, to). OUT_OF_RANGE: `passed`, which counts the
// other messages under the node's name, is over its limit.
absl::StatusOr<FleetSink::Stored> FindFirst(FleetSink* sink, const std::string& journal_id,
                                            uint64_t from, uint64_t to, size_t* passed) {
  size_t count = 1;
  while (from < to) {
    std::vector<uint64_t> places(count);
    for (size_t i = 0; i < count; ++i) places[i] = from + i;
    absl::StatusOr<std::vector<FleetSink::Stored>> found = sink->Next(Where::kEvents, places);
    if (!found.ok()) return found.status();
    for (FleetSink::Stored& message : *found) {
      // Several places may have the same message behind them.
      if (message.has_value() && message->position.stream_sequence < from) continue;
      if (!message.has_value() || message->position.stream_sequence >= to) return std::nullopt;
      if (message->position.journal_id == journal_id) return std::move(message);
      if (++*passed > kMaxPassed) return absl::OutOfRangeError("too many foreign messages");
      from = message->position.stream_sequence + 1;
    }
    count = std::min(count * 2, kMaxAsked);
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<uint64_t> ReadStored(FleetSink* sink, Where where, uint64_t first, uint64_t last,
                                    size_t limit,
                                    const std::function<void(const FleetStored&)>& use) {
  // Parts of the log, each of which is read one message after the other, and all of them at once:
  // other nodes' messages may stand between any two. Most looks find one message or none.
  struct Part {
    uint64_t next;
    uint64_t end;
    uint64_t size() const { return end - next; }
  };
  std::vector<Part> parts;
  if (first <= last) parts.push_back({first, last + 1});
  size_t read = 0;
  for (size_t width = 1; !parts.empty(); width = std::min(width * 2, kMaxAsked)) {
    if (read > limit) return parts.front().next - 1;
    while (parts.size() < width) {
      const auto largest =
          std::max_element(parts.begin(), parts.end(),
                           [](const Part& a, const Part& b) { return a.size() < b.size(); });
      if (largest->size() < 2) break;
      const uint64_t middle = largest->next + largest->size() / 2;
      const uint64_t end = std::exchange(largest->end, middle);
      parts.insert(largest + 1, {middle, end});
    }
    std::vector<uint64_t> places;
    places.reserve(parts.size());
    for (const Part& part : parts) places.push_back(part.next);
    const absl::StatusOr<std::vector<FleetSink::Stored>> found = sink->Next(where, places);
    if (!found.ok()) return found.status();
    std::vector<Part> left;
    for (size_t i = 0; i < parts.size(); ++i) {
      const FleetSink::Stored& message = (*found)[i];
      // Messages behind the part belong to another one.
      if (!message.has_value() || message->position.stream_sequence >= parts[i].end) continue;
      use(*message);
      ++read;
      const Part rest = {message->position.stream_sequence + 1, parts[i].end};
      if (rest.size() > 0) left.push_back(rest);
    }
    parts = std::move(left);
  }
  return last;
}

absl::StatusOr<FleetSink::Stored> FindLast(FleetSink* sink, const std::string& journal_id,
                                           uint64_t first, uint64_t before) {
  size_t passed = 0;
  FleetSink::Stored last;
  uint64_t step = 1;
  // Back in steps that double, until there is one, and then to the last one: from `begin` on, and
  // from `before` on is none.
  while (before > first) {
    const uint64_t behind = last.has_value() ? last->position.stream_sequence + 1 : first;
    if (behind == before) break;
    const uint64_t begin =
        last.has_value() ? behind + (before - behind) / 2 : before - std::min(step, before - first);
    absl::StatusOr<FleetSink::Stored> found = FindFirst(sink, journal_id, begin, before, &passed);
    if (absl::IsOutOfRange(found.status())) return std::nullopt;
    if (!found.ok()) return found.status();
    if (found->has_value()) {
      last = *std::move(found);
    } else {
      before = begin;
    }
    step *= 2;
  }
  return last;
}

absl::StatusOr<std::set<uint64_t>> FindStored(FleetSink* sink, const FleetPosition& after,
                                              uint64_t last, size_t limit) {
  std::set<uint64_t> found;
  size_t own = 0;
  const absl::StatusOr<uint64_t> read =
      ReadStored(sink, Where::kEvents, after.stream_sequence + 1, last, limit + kMaxPassed,
                 [&](const FleetStored& message) {
                   if (message.position.journal_id != after.journal_id) return;
                   ++own;
                   const uint64_t sequence = message.position.sequence;
                   if (sequence > after.sequence) found.insert(sequence);
                 });
  if (!read.ok()) return read.status();
  if (own > limit) {
    return absl::OutOfRangeError(absl::StrCat("more than ", limit, " messages of the node"));
  }
  if (*read < last) {
    spdlog::warn(
        "more than {} messages of others are under this node's name in the fleet's stream: events "
        "that were not acknowledged may come twice",
        kMaxPassed);
  }
  return found;
}

}  // namespace vmeventd
