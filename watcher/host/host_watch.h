#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/mutex.h"
#include "watcher/host/host_shutdown_api.h"

namespace vmeventd {

// Follows on the loop whether the host is shutting down. Loop thread.
class HostWatch : public FdHandler {
 public:
  // Longest time for which the start waits for the first answer.
  static constexpr absl::Duration kFirstAnswer = absl::Milliseconds(500);

  // Null `source`: nobody is asked, for the reason `problem`. `loop` outlives the watch.
  HostWatch(EventLoop* loop, std::shared_ptr<HostShutdownApi> source, std::string problem);
  ~HostWatch() override;

  // Called with each change, and once with the first answer.
  void OnChange(std::function<void(const HostShutdownState&)> on_change) {
    on_change_ = std::move(on_change);
  }

  // Handles pending reports. systemd-logind reports a shutdown before anything is ended for it.
  void Drain();
  // Returns whether the first answer is known, or the wait for it is over.
  bool settled() const { return settled_; }

  // Any thread.
  HostShutdownState state() const;

  void OnFdReady(uint32_t /*events*/) override { Drain(); }

 private:
  EventLoop* const loop_;
  const std::shared_ptr<HostShutdownApi> source_;
  std::function<void(const HostShutdownState&)> on_change_;
  bool settled_ = false;
  bool reported_ = false;  // on_change_ has had the first answer
  TimerId patience_;
  mutable Mutex mutex_;
  HostShutdownState state_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd
