#include "watcher/host/host_watch.h"

#include <sys/epoll.h>

#include <utility>

#include "absl/status/status.h"
#include "spdlog/spdlog.h"
#include "watcher/host/host_shutdown_api.h"

namespace vmeventd {

HostWatch::HostWatch(EventLoop* loop, std::shared_ptr<HostShutdownApi> source, std::string problem)
    : loop_(loop), source_(std::move(source)) {
  if (source_ != nullptr) {
    const absl::Status added = loop_->Add(source_->fd(), EPOLLIN, this);
    if (!added.ok()) problem = std::string(added.message());
    patience_ = loop_->AddTimer(loop_->Now().monotonic + kFirstAnswer, [this] { settled_ = true; });
  } else {
    settled_ = true;
  }
  const MutexLock lock(&mutex_);
  state_.problem = std::move(problem);
}

HostWatch::~HostWatch() {
  loop_->CancelTimer(&patience_);
  if (source_ != nullptr) loop_->Remove(source_->fd());
}

void HostWatch::Drain() {
  if (source_ == nullptr) return;
  HostShutdownState now = source_->Read();
  const HostShutdownState before = state();
  if (now.known) settled_ = true;
  if (!now.known) now.problem = before.problem;  // it is being asked again
  {
    const MutexLock lock(&mutex_);
    state_ = now;
  }
  if (now.problem != before.problem) {
    if (now.problem.empty()) {
      spdlog::info("a shutdown of the host can be detected");
    } else {
      spdlog::info("cannot detect a shutdown of the host: {}", now.problem);
    }
  }
  const bool answers = now.known && now.problem.empty();  // else nothing is known
  if (now.shutting_down == before.shutting_down && (reported_ || !answers)) return;
  if (now.shutting_down != before.shutting_down) {
    spdlog::info(
        "{}, reported by {}",
        now.shutting_down ? "the host is shutting down" : "the host's shutdown was cancelled",
        now.by);
  }
  reported_ = reported_ || answers;
  if (on_change_ != nullptr) on_change_(now);
}

HostShutdownState HostWatch::state() const {
  const MutexLock lock(&mutex_);
  return state_;
}

}  // namespace vmeventd
