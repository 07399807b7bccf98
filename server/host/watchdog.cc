#include "server/host/watchdog.h"

#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr std::array<const char*, Watchdog::kThreads> kNames = {"watcher", "pump", "acceptor"};

}  // namespace

bool Watchdog::Turn(absl::Duration now) {
  std::vector<std::string> silent;
  for (size_t i = 0; i < kThreads; ++i) {
    if (answered_[i] != asked_) silent.emplace_back(kNames[i]);
  }
  if (silent.empty()) {
    ++asked_;
    asked_at_ = now;
    logged_ = false;
    return true;
  }
  if (!logged_ && now - asked_at_ >= limit_ / 3) {
    logged_ = true;
    spdlog::error("threads not responding for {}: {}", absl::FormatDuration(now - asked_at_),
                  absl::StrJoin(silent, ", "));
  }
  return false;
}

}  // namespace vmeventd
