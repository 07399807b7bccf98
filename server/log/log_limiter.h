#ifndef VMEVENTD_SERVER_LOG_LOG_LIMITER_H_
#define VMEVENTD_SERVER_LOG_LOG_LIMITER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace vmeventd {

// Bounds how many lines of each kind are written per second, so that no burst fills the log's disk
// or blocks a thread, and no kind crowds out another. Times are on the monotonic clock. Not
// synchronised: the caller locks.
class LogLimiter {
 public:
  // How many lines of one kind were left out, in one second or since the last Take.
  struct LeftOut {
    std::string kind;
    uint64_t lines = 0;
  };

  // Whether another line of `kind` may be written; its limit is `per_second`. A refused line is
  // counted.
  bool Admit(absl::string_view kind, uint64_t per_second, absl::Duration now);

  // The lines left out in the seconds that are over; reports each once.
  std::vector<LeftOut> Take(absl::Duration now);
  // The same for every second, including the current one.
  std::vector<LeftOut> TakeAll() { return Take(absl::InfiniteDuration()); }
  // When Take next has something to return; InfiniteDuration: never, as things stand.
  absl::Duration NextTake() const;

 private:
  struct Second {
    absl::Duration begin = -absl::InfiniteDuration();
    uint64_t lines = 0;
    uint64_t left_out = 0;   // not yet taken
    absl::Duration take_at;  // if any
  };

  std::map<std::string, Second, std::less<>> seconds_;  // by kind
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LOG_LOG_LIMITER_H_
