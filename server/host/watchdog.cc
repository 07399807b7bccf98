#include "server/host/watchdog.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "base/system.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr std::array<const char*, Watchdog::kThreads> kNames = {"watcher", "pump", "acceptor",
                                                                "gRPC"};

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
    spdlog::error("threads that have not answered for {}: {}",
                  absl::FormatDuration(now - asked_at_), absl::StrJoin(silent, ", "));
  }
  return false;
}

StopDeadline::StopDeadline(absl::Duration timeout, Step step, GiveUp give_up)
    : give_up_(std::move(give_up)),
      step_(std::move(step)),
      thread_([this, timeout] { Wait(timeout); }) {}

StopDeadline::~StopDeadline() {
  {
    const MutexLock lock(&mutex_);
    stopped_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void StopDeadline::Wait(absl::Duration timeout) {
  SetThreadName("stop-deadline");
  Step hangs;
  {
    const MutexLock lock(&mutex_);
    if (WaitUntil(&changed_, &mutex_, timeout,
                  [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopped_; }))
      return;
    hangs = step_;
  }
  give_up_(hangs);
}

}  // namespace vmeventd
