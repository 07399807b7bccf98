#ifndef VMEVENTD_WATCHER_IO_NODE_WATCHER_H_
#define VMEVENTD_WATCHER_IO_NODE_WATCHER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "watcher/core/event_sink.h"
#include "watcher/core/vm_session.h"
#include "watcher/core/watch_spec.h"
#include "watcher/io/clock.h"

namespace vmeventd {

struct WatcherOptions {
  std::vector<WatchSpec> watches;
  bool process_tracking = true;
  SessionOptions session;
  absl::Duration greeting_timeout = absl::Seconds(3);
  // The open runs of the daemon before this one, as VmUpdate::saved_run told them. The first turns
  // of the loop tell of each that it goes on (its status) or has ended (STOPPED).
  std::vector<std::string> saved_runs;
  // Descriptors that VMs may hold together; beyond it a VM is listed with a problem and retried.
  int max_vm_descriptors = 1 << 20;
};

// What the watcher has met, since it was made; each only grows.
struct WatcherCounters {
  uint64_t inotify_overflows = 0;
  uint64_t rescans = 0;
  uint64_t connect_retries = 0;
  uint64_t out_of_descriptors = 0;
  uint64_t monitors_lost = 0;
  uint64_t protocol_errors = 0;
  uint64_t shutdown_file_errors = 0;
  uint64_t unreadable_runs = 0;  // of WatcherOptions::saved_runs
};

// Follows every QEMU whose monitor socket appears in the watched directories, and tells `sink`
// what happens to each. Owns all sessions, connections and watches. Every method but Wake is for
// one thread, the loop thread; none blocks but RunOnce, for its timeout at the most.
class NodeWatcher {
 public:
  // `clock` and `sink` outlive the watcher. The watches are set and the directories scanned by the
  // first RunOnce that has no saved run left to look after. An error names the system resource that
  // could not be had.
  static absl::StatusOr<std::unique_ptr<NodeWatcher>> Create(WatcherOptions options,
                                                             const Clock* clock, EventSink* sink);
  virtual ~NodeWatcher() = default;

  // Waits for input or a timer, at most `timeout`, and handles all that is due.
  virtual void RunOnce(absl::Duration timeout) = 0;
  // Makes a RunOnce that waits, or the next one, return early. Any thread; async-signal-safe.
  virtual void Wake() = 0;

  // Has the loop push every open run's status with its saved_run once more, for a sink that lost
  // what it kept. Any thread.
  virtual void TellRunsAgain() = 0;

  // Every saved run was restored or has ended, and every socket that was there was tried.
  virtual bool first_scan_done() const = 0;
  virtual WatcherCounters counters() const = 0;
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_IO_NODE_WATCHER_H_
