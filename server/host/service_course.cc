#include "server/host/service_course.h"

#include <algorithm>

#include "server/host/service.h"

namespace vmeventd {

ServiceCourse::Actions ServiceCourse::Turn(absl::Duration now, bool scanned) {
  Actions actions;
  now_ = now;
  ready_by_ = std::min(ready_by_, now + kReadyTimeout);  // from the first turn
  if (scanned && !serving_) {
    serving_ = actions.begin_serving = true;
    trim_at_ = now + kSettleTime;
  }
  if (!ready_ && (serving_ || now >= ready_by_)) ready_ = actions.notify_ready = true;
  if (now >= ask_at_) AskWatcher(&actions);
  if (now >= trim_at_) {
    trim_at_ = absl::InfiniteDuration();
    actions.trim_memory = true;
  }
  actions.notify_alive = ready_ && IsAlive();
  return actions;
}

absl::Duration ServiceCourse::TimeToTurn() const {
  return std::min({ready_ ? watchdog_.turn() : ready_by_ - now_, ask_at_ - now_, trim_at_ - now_});
}

void ServiceCourse::OnWatcherTurn() {
  pulse_.Answer();
  watchdog_.Answer(Watchdog::kWatcher);
}

void ServiceCourse::AskWatcher(Actions* actions) {
  ask_at_ = now_ + kAskInterval;
  actions->wake_watcher = true;
  const bool silent = pulse_.Ask();
  actions->watcher_fell_silent = silent && !silent_;
  actions->watcher_responds_again = silent_ && !silent;
  silent_ = silent;
}

bool ServiceCourse::IsAlive() {
  return watchdog_.turn() < absl::InfiniteDuration() && watchdog_.Turn(now_);
}

}  // namespace vmeventd
