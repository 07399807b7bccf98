#include "server/log/log_limiter.h"

#include <algorithm>
#include <utility>

namespace vmeventd {
namespace {

constexpr absl::Duration kSecond = absl::Seconds(1);

}  // namespace

bool LogLimiter::Admit(absl::string_view kind, uint64_t per_second, absl::Duration now) {
  Second& second = seconds_[std::string(kind)];
  if (now >= second.begin + kSecond) {
    second.begin = now;
    second.lines = 0;
  }
  if (second.lines < per_second) {
    ++second.lines;
    return true;
  }
  if (second.left_out++ == 0) second.take_at = second.begin + kSecond;
  return false;
}

std::vector<LogLimiter::LeftOut> LogLimiter::Take(absl::Duration now) {
  std::vector<LeftOut> out;
  for (auto& [kind, second] : seconds_) {
    if (second.left_out == 0 || now < second.take_at) continue;
    out.push_back({kind, std::exchange(second.left_out, 0)});
  }
  return out;
}

absl::Duration LogLimiter::NextTake() const {
  absl::Duration next = absl::InfiniteDuration();
  for (const auto& [kind, second] : seconds_) {
    if (second.left_out > 0) next = std::min(next, second.take_at);
  }
  return next;
}

}  // namespace vmeventd
