#pragma once

#include <cstddef>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace vmeventd {

// Returns whether `status` is an I/O error of a read (SqliteDatabase marks them).
bool IsReadError(const absl::Status& status);
void MarkReadError(absl::Status* status);
// Sets the place of that error, for UnreadablePlaces; another status is left as it is.
void SetReadErrorPlace(absl::string_view place, absl::Status* status);
std::string ReadErrorPlace(const absl::Status& status);

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

  // Counts a failed read of `place`, empty if not known, at `now` on the monotonic clock. True: it
  // is damage.
  bool Fail(const std::string& place, absl::Duration now);
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
