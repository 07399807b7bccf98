#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/eventlog/event_log.h"
#include "server/host/service_course.h"
#include "server/stream/stream_hub.h"
#include "server/transport/grpc_server.h"
#include "watcher/node/node_watcher.h"

namespace vmeventd {

// The work of the main thread while the daemon serves: it reports to the service manager, and sees
// whether each thread still responds. Carries out what ServiceCourse decides.
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
  // Waits until the next turn is due. `*scanned`: the first scan is done. False: the daemon stops.
  bool AwaitTurn(bool* scanned);
  void Act(const ServiceCourse::Actions& actions, NodeWatcher* watcher, GrpcServer* server);
  static void BeginServing(GrpcServer* server);
  static void ReportSilence(GrpcServer* server);
  static void ReportResponse(GrpcServer* server);
  // Makes each thread that the watchdog covers answer.
  void AskAllThreads(NodeWatcher* watcher, GrpcServer* server);
  void NotifyManager(const char* news, const NodeWatcher& watcher, const GrpcServer& server) const;
  std::string StatusText(const NodeWatcher& watcher, const GrpcServer& server) const;

  const Clock* const clock_;
  EventLog* const log_;
  const StreamHub* const hub_;

  Mutex mutex_;
  CondVar changed_;
  bool scanned_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  ServiceCourse course_;
};

}  // namespace vmeventd
