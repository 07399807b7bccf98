#ifndef VMEVENTD_SERVER_DAEMON_H_
#define VMEVENTD_SERVER_DAEMON_H_

#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/config.h"
#include "server/event_pump.h"
#include "server/event_store.h"
#include "server/grpc_server.h"
#include "server/lock_file.h"
#include "server/queries.h"
#include "server/stream_hub.h"
#include "server/vm_event_service.h"
#include "watcher/io/clock.h"
#include "watcher/io/event_queue.h"
#include "watcher/io/mutex.h"
#include "watcher/io/node_watcher.h"

namespace vmeventd {

// The whole daemon, put together. Its threads: the watcher's loop, the pump, the hub's deadlines,
// and gRPC's own.
class Daemon {
 public:
  // From RequestStop to the return of Run.
  static constexpr absl::Duration kStopTimeout = absl::Seconds(5);

  // Takes the locks, sets up the watcher and listens. The error names what stands in the way.
  static absl::StatusOr<std::unique_ptr<Daemon>> Create(const Config& config, const Clock* clock);
  ~Daemon();

  // Follows the VMs and serves until RequestStop, then drains: all that was observed is sent on
  // every stream before it ends. The thread that made the daemon; once.
  void Run();
  // Any thread.
  void RequestStop();

 private:
  Daemon(const Clock* clock, std::unique_ptr<LockFile> state_lock, std::string journal_id,
         std::string token_key, ServerFacts facts);

  void WatcherLoop();
  // Waits for the first scan or for RequestStop; true: for RequestStop.
  bool WaitForScanOrStop();
  void WaitForStop();
  void Stop();

  const Clock* const clock_;
  const std::unique_ptr<LockFile> state_lock_;
  EventQueue queue_;
  EventStore store_;
  StreamHub hub_;
  EventPump pump_;
  Queries queries_;
  VmEventServiceImpl service_;
  std::unique_ptr<NodeWatcher> watcher_;
  std::unique_ptr<GrpcServer> server_;

  std::thread watcher_thread_;
  std::thread pump_thread_;
  std::thread hub_thread_;

  Mutex mutex_;
  CondVar changed_;
  bool scanned_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_DAEMON_H_
