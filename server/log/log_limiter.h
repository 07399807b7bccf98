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

// How many lines of each kind may be written in a second, so that no storm fills the disk of the
// log or holds a thread up, and no kind crowds out another. Times are on the monotonic clock. Not
// synchronised: its owner is.
class LogLimiter {
 public:
  // What was left out of one kind, in a second or since the last Take.
  struct LeftOut {
    std::string kind;
    uint64_t lines = 0;
  };

  // Whether one more line of `kind` may be written, of which `per_second` may; else it is counted.
  bool Admit(absl::string_view kind, uint64_t per_second, absl::Duration now);

  // What was left out in the seconds that are over, once each.
  std::vector<LeftOut> Take(absl::Duration now);
  // The same of every second, over or not.
  std::vector<LeftOut> TakeAll() { return Take(absl::InfiniteDuration()); }
  // When Take has something next; InfiniteDuration: never, as it stands.
  absl::Duration NextTake() const;

 private:
  struct Second {
    absl::Duration begin = -absl::InfiniteDuration();
    uint64_t lines = 0;
    uint64_t left_out = 0;   // that was not taken yet
    absl::Duration take_at;  // if any
  };

  std::map<std::string, Second, std::less<>> seconds_;  // by kind
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LOG_LOG_LIMITER_H_
