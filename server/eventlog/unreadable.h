#pragma once

#include <algorithm>
#include <cstddef>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace vmeventd {

inline constexpr char kReadErrorPayload[] = "vmeventd/read-error";
// Returns whether `status` is an I/O error of a read (SqliteDatabase marks them).
inline bool IsReadError(const absl::Status& status) {
  return status.GetPayload(kReadErrorPayload).has_value();
}
inline void MarkReadError(absl::Status* status) {
  status->SetPayload(kReadErrorPayload, absl::Cord());
}
// Sets the place of that error, for UnreadablePlaces; another status is left as it is.
inline void SetReadErrorPlace(absl::string_view place, absl::Status* status) {
  if (IsReadError(*status)) status->SetPayload(kReadErrorPayload, absl::Cord(place));
}
inline std::string ReadErrorPlace(const absl::Status& status) {
  return std::string(status.GetPayload(kReadErrorPayload).value_or(absl::Cord()));
}

// Decides when a part of the journal that cannot be read counts as damage. A disk that fails for a
// while fails for everything. One sector that is lost fails each time, while all else works. Pure;
// one thread.
class UnreadablePlaces {
 public:
  // Thresholds of damage: failed reads of one place, and the time from the first to the last.
  static constexpr int kTries = 3;
  static constexpr absl::Duration kLasts = absl::Minutes(2);
  // Limit of remembered places; beyond it, the one that failed longest ago is forgotten.
  static constexpr size_t kMaxPlaces = 64;
  // Time after which a failure begins a new count: the place is seldom read.
  static constexpr absl::Duration kForgotten = absl::Minutes(30);

  // Counts a failed read of `place`, empty if not known, at `now` on the monotonic clock. True: it
  // is damage.
  bool Fail(const std::string& place, absl::Duration now) {
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
  // Forgets all places, when the disk fails as a whole or works again.
  void Clear() { places_.clear(); }

 private:
  struct Failures {
    absl::Duration first;
    absl::Duration last;
    int tries = 0;
  };

  absl::flat_hash_map<std::string, Failures> places_;
};

}  // namespace vmeventd
