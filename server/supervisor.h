#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/eventlog/event_log.h"
#include "server/host/pulse.h"
#include "server/host/service.h"
#include "server/host/watchdog.h"
#include "server/stream/stream_hub.h"
#include "server/transport/grpc_server.h"
#include "watcher/node/node_watcher.h"

namespace vmeventd {

// The work of the main thread while the daemon serves: it reports to the service manager, and sees
// whether each thread still responds.
class Supervisor {
 public:
  // `clock`, `log` and `hub` must outlive the supervisor.
  Supervisor(const Clock* clock, EventLog* log, const StreamHub* hub);

  // Serves from the watcher's first scan until RequestStop(). Call it once. `watcher` and `server`
  // must outlive all calls of this object.
  void ServeUntilStop(NodeWatcher* watcher, GrpcServer* server);
  // Makes ServeUntilStop() return, now or once it is called. Any thread.
  void RequestStop();

  // To be called on the watcher's thread after each of its turns. Returns whether the daemon stops.
  bool OnWatcherTurn(bool first_scan_done);
  // To be called on the log's pump thread after each of its turns.
  void OnPumpTurn();

 private:
  // The course of ServeUntilStop(), in monotonic time.
  struct Course {
    NodeWatcher* watcher;
    GrpcServer* server;
    absl::Duration now;
    absl::Duration ready_by;  // READY=1 is due, even if the first scan is not done
    absl::Duration ask_at;
    absl::Duration trim_at = absl::InfiniteDuration();  // freed memory goes back to the kernel
    bool ready = false;                                 // READY=1 was sent
    bool serving = false;                               // the first scan is done
    bool silent = false;                                // the watcher is
  };

  // Waits until something is due. `*begins`: the first scan is done. False: the daemon stops.
  bool AwaitTurn(const Course& course, bool* begins);
  static void BeginServing(Course* course);
  // Asks the watcher whether it responds, and reacts if it has not.
  void AskWatcher(Course* course);
  // Makes each thread that the watchdog covers answer.
  void AskAllThreads(const Course& course);
  void NotifyManager(const char* news, const Course& course) const;
  std::string StatusText(const Course& course) const;

  const Clock* const clock_;
  EventLog* const log_;
  const StreamHub* const hub_;

  Mutex mutex_;
  CondVar changed_;
  bool scanned_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  Watchdog watchdog_{WatchdogInterval()};
  Pulse pulse_;  // the watcher's
};

}  // namespace vmeventd
