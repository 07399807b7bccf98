#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/system.h"
#include "server/access/refusals.h"
#include "server/config/config.h"
#include "server/config/tls_files.h"
#include "server/eventlog/event_log.h"
#include "server/handover.h"
#include "server/host/service.h"
#include "server/logging/logging.h"
#include "server/metrics/metrics.h"
#include "server/metrics/metrics_server.h"
#include "server/rpc/vm_event_service.h"
#include "server/stream/stream_hub.h"
#include "server/transport/grpc_server.h"
#include "watcher/node/node_watcher.h"

namespace vmeventd {

// The whole daemon, put together. Its threads: the watcher's loop, those of the event log, the
// hub's deadlines, and gRPC's own.
class Daemon {
 public:
  // Longest time from RequestStop to the return of Run.
  static constexpr absl::Duration kStopTimeout = absl::Seconds(5);
  // Longest time from the start of Run until the service manager is notified that the daemon is
  // ready: it starts the managers of VMs after that, and a libvirt that it has yet to start does
  // not answer before. The health service waits for the first scan.
  static constexpr absl::Duration kReadyTimeout = absl::Seconds(2);

  // Takes the locks, sets up the watcher and listens; an address that cannot be listened on is
  // retried while the daemon runs. The error names the obstacle. `meters` are the log's; null: the
  // process's log is not counted. `signals` was begun before any thread; `parcel` is
  // TakeParcel()'s. The pointers outlive the daemon.
  static absl::StatusOr<std::unique_ptr<Daemon>> Create(const Config& config, const Clock* clock,
                                                        const LogMeters* meters = nullptr,
                                                        const Tuning& tuning = Tuning(),
                                                        SignalTracing signals = {},
                                                        UniqueFd parcel = {});
  ~Daemon();

  // Follows the VMs and serves until RequestStop, then drains: all that was observed is sent on
  // every stream before it ends. The thread that made the daemon; once.
  void Run();
  // Any thread.
  void RequestStop();
  // Reads again what may be replaced while the daemon runs: the TLS files. Any thread.
  void Reload();

 private:
  Daemon(const Config& config, const Tuning& tuning, const Clock* clock, UniqueFd state_lock,
         std::unique_ptr<TlsFiles> tls, std::unique_ptr<EventLog> log);

  absl::Status StartServer(const Config& config, int descriptors);
  absl::Status StartMetrics(const Config& config, const LogMeters* log);
  void WatcherLoop();
  // Runs after each turn of the pump thread, on it.
  void OnPumpTurn();
  std::string StatusText() const;
  // Asks the watched threads to answer in their next turns.
  void AskThreads();
  // Serves from the first scan on, and notifies the service manager, until RequestStop.
  void ServeUntilStop();
  void Stop();

  const Tuning tuning_;
  const Clock* const clock_;
  const UniqueFd state_lock_;            // see LockFile
  const std::unique_ptr<TlsFiles> tls_;  // null: no TLS
  RefusalCounters refusals_;
  const std::unique_ptr<EventLog> log_;
  StreamHub hub_;
  VmEventService service_;
  std::shared_ptr<SignalTrace> trace_;  // null: none
  std::unique_ptr<NodeWatcher> watcher_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<Metrics> metrics_;  // null: not asked for
  std::unique_ptr<MetricsServer> metrics_server_;

  std::thread watcher_thread_;
  bool directories_present_ = true;  // the health service's value; pump thread
  std::thread hub_thread_;

  Mutex mutex_;
  CondVar changed_;
  bool scanned_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;  // the service manager was notified
  // Shared with calls of gRPC that end later than the daemon.
  const std::shared_ptr<Watchdog> watchdog_ = std::make_shared<Watchdog>(WatchdogInterval());
};

}  // namespace vmeventd
