#include "server/eventlog/unreadable.h"

#include <algorithm>
#include <optional>

#include "absl/strings/cord.h"

namespace vmeventd {
namespace {

constexpr char kPayload[] = "vmeventd/read-error";

// Time after which a failure begins a new count: the place is seldom read.
constexpr absl::Duration kForgotten = absl::Minutes(30);

}  // namespace

bool IsReadError(const absl::Status& status) { return status.GetPayload(kPayload).has_value(); }

void MarkReadError(absl::Status* status) { status->SetPayload(kPayload, absl::Cord()); }

void SetReadErrorPlace(absl::string_view place, absl::Status* status) {
  if (IsReadError(*status)) status->SetPayload(kPayload, absl::Cord(place));
}

std::string ReadErrorPlace(const absl::Status& status) {
  return std::string(status.GetPayload(kPayload).value_or(absl::Cord()));
}

bool UnreadablePlaces::Fail(const std::string& place, absl::Duration now) {
  if (place.empty()) return false;  // two of them may be of two places
  const auto [found, is_new] = places_.try_emplace(place);
  Failures& failures = found->second;
  if (is_new || now - failures.last > kForgotten) failures = {now, now, 0};
  failures.last = now;
  const bool damaged = ++failures.tries >= kTries && now - failures.first >= kLasts;
  if (places_.size() > kMaxPlaces) {
    places_.erase(std::min_element(
        places_.begin(), places_.end(),
        [](const auto& a, const auto& b) { return a.second.last < b.second.last; }));
  }
  return damaged;
}

}  // namespace vmeventd
