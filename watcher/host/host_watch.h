#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/mutex.h"

namespace vmeventd {

// State of the host's shutdown, as its service managers report it.
struct HostShutdownState {
  bool known = false;  // somebody has reported it, or there is nobody to ask
  bool shutting_down = false;
  std::string by;       // the last to report it, for people
  std::string problem;  // reason why nobody reports it now, for people; empty: somebody does
};

// This folder's border to the outside; tests have a fake of it. Loop thread.
class HostShutdownApi {
 public:
  virtual ~HostShutdownApi() = default;
  // Descriptor that is readable, level-triggered, while Read() has something to do.
  virtual int fd() const = 0;
  // Handles pending reports, without waiting.
  virtual HostShutdownState Read() = 0;
};

// Listens on the system bus (sd-bus) to systemd-logind, whose PrepareForShutdown signals that the
// host begins to power off, to reboot or to kexec, or has cancelled that; and to systemd, whose job
// for shutdown.target shows the same for a shutdown that bypasses logind. Takes no inhibitor lock,
// starts neither service, and ignores other senders. Does not block. Reconnects 5 s after a
// connection was lost; the delay grows to 320 s while that fails. The last report stays valid
// without a connection: the bus may end before the VMs. The error names the call that failed.
absl::StatusOr<std::unique_ptr<HostShutdownApi>> ListenOnSystemBus();

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
