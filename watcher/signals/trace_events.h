#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "watcher/signals/perf_records.h"

namespace vmeventd {

// The events of perf_event_open(2) that record signals on one processor, filtered and not enabled
// yet: signal:signal_generate first, then those that are to be written into its ring.
struct ProcessorEvents {
  int processor = 0;
  absl::StatusOr<std::vector<UniqueFd>> events;  // UNAVAILABLE: for people
};

// A process of its own, `vmeventd-perf`, which opens these events at any time, so that the caller
// can give up CAP_PERFMON. It has that capability alone, and no other descriptor than a socket; the
// kernel kills it if it calls anything beyond what opens and passes events. It opens no other
// events than these. It ends with this object and with the thread that made it. One thread.
class TraceEvents {
 public:
  // Forks: to be called before other threads start. With the capabilities that the caller has then;
  // without the right, each processor's answer says so. UNAVAILABLE: there is no process. `root`
  // stands before the paths that errors are explained by, for tests.
  static absl::StatusOr<std::unique_ptr<TraceEvents>> Start(const TraceFormats& formats,
                                                            std::string root);
  ~TraceEvents();
  TraceEvents(const TraceEvents&) = delete;
  TraceEvents& operator=(const TraceEvents&) = delete;

  // Readable while Receive() has something to do; -1 once the process has ended.
  int fd() const { return socket_.get(); }
  // Asks for the events of `processor`, without waiting. False: too many answers are due, or the
  // process has ended.
  bool Ask(int processor);
  // Takes an answer, without waiting; unset: there is none, or the process has ended.
  std::optional<ProcessorEvents> Receive();
  // Returns how the process ended, for people; empty: it runs.
  const std::string& ended() const { return ended_; }

 private:
  TraceEvents(pid_t pid, UniqueFd socket, std::string root);
  // Ends the process if it still runs.
  void End();

  const pid_t pid_;
  const std::string root_;
  UniqueFd socket_;
  std::string ended_;
};

}  // namespace vmeventd
