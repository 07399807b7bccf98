#ifndef VMEVENTD_SERVER_DAEMON_H_
#define VMEVENTD_SERVER_DAEMON_H_

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/config.h"
#include "server/event_pump.h"
#include "server/event_store.h"
#include "server/grpc_server.h"
#include "server/history.h"
#include "server/journal.h"
#include "server/journal_writer.h"
#include "server/lock_file.h"
#include "server/metrics.h"
#include "server/metrics_server.h"
#include "server/queries.h"
#include "server/refusals.h"
#include "server/rpc_backend.h"
#include "server/sequence_mark.h"
#include "server/stream_hub.h"
#include "server/tls_files.h"
#include "watcher/io/clock.h"
#include "watcher/io/event_queue.h"
#include "watcher/io/mutex.h"
#include "watcher/io/node_watcher.h"

namespace vmeventd {

// The whole daemon, put together. Its threads: the watcher's loop, the pump (which writes the
// journal), the history (which reads it), the hub's deadlines, and gRPC's own.
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
  // Reads again what may be replaced while the daemon runs: the TLS files. Any thread.
  void Reload();

 private:
  // What was kept of the daemon before this one.
  struct Kept {
    std::unique_ptr<Journal> journal;
    std::unique_ptr<SequenceMark> mark;
    uint64_t newest = 0;  // the newest sequence that was given
    std::vector<JournalSession> sessions;
    std::vector<JournalStop> stops;
    std::vector<std::string> gaps;  // what to tell as GAP
    bool replaced = false;          // the journal is new and holds no sessions
  };

  Daemon(const Config& config, const Clock* clock, std::unique_ptr<LockFile> state_lock,
         std::unique_ptr<TlsFiles> tls, Kept kept);

  static absl::StatusOr<Kept> OpenJournal(const JournalOptions& options, const std::string& mark,
                                          absl::Time now);
  absl::Status StartServer(const Config& config, int max_connections);
  absl::Status StartMetrics(const Config& config);
  void TellKept(const Kept& kept);
  void OnJournalWritable(bool writable);
  void WatcherLoop();
  // Waits for the first scan or for RequestStop; true: for RequestStop.
  bool WaitForScanOrStop();
  void PumpLoop();
  // A line for people.
  std::string StatusText() const;
  // Whether the watcher's loop and the pump do their turn in time. A pump that waits for the disk
  // counts as doing so: to kill it would lose what it holds, and not mend the disk.
  bool LoopsAnswer(absl::Duration timeout);
  // Waits for RequestStop, at most `timeout`; true: it came.
  bool WaitForStop(absl::Duration timeout);
  void WaitForStopAndTellAlive();
  void Stop();

  const Clock* const clock_;
  const std::unique_ptr<LockFile> state_lock_;
  const std::unique_ptr<TlsFiles> tls_;  // null: no TLS
  RefusalCounters refusals_;
  EventQueue queue_;
  EventStore store_;
  History history_;
  StreamHub hub_;
  JournalWriter journal_;
  EventPump pump_;
  Queries queries_;
  RpcBackend backend_;
  std::unique_ptr<NodeWatcher> watcher_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<Metrics> metrics_;  // null: not asked for
  std::unique_ptr<MetricsServer> metrics_server_;

  std::thread watcher_thread_;
  std::thread pump_thread_;
  std::thread history_thread_;
  std::thread hub_thread_;

  Mutex mutex_;
  CondVar changed_;
  bool scanned_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  // Counts LoopsAnswer's questions; and which of them each loop has answered.
  uint64_t asked_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t watcher_answered_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t pump_answered_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_DAEMON_H_
