#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/receiving_socket.h"
#include "watcher/core/problem.h"
#include "watcher/core/run_info.h"
#include "watcher/core/service_health.h"
#include "watcher/core/vm_source.h"
#include "watcher/core/watch_spec.h"
#include "watcher/qmp/directory_watcher.h"
#include "watcher/qmp/monitor_connection.h"
#include "watcher/qmp/path_check.h"
#include "watcher/qmp/qmp_meters.h"
#include "watcher/qmp/qmp_run.h"
#include "watcher/qmp/slot_table.h"
#include "watcher/qmp/socket_connector.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/qmp/socket_slot.h"
#include "watcher/runs/directory_thread.h"
#include "watcher/runs/peer_process.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/run_source.h"
#include "watcher/runs/run_table.h"
#include "watcher/runs/source_metric.h"
#include "watcher/runs/source_table.h"
#include "watcher/runs/vm_run.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

// The source of a run whose monitor's socket was found at `monitor_path`, in a watched directory:
// "qmp:" and that directory.
std::string QmpSourceName(absl::string_view monitor_path);

// Sets what Ganeti has of a run, by the path of its monitor: it reads a shutdown file next to a
// NAME.kvmd, and has a log for each QEMU of its own directory.
void DescribeGanetisFiles(RunInfo* run);

// The source "QMP sockets": connects to each socket in the watched directories, and hands the
// connection to the run of the process behind it. A slot is a socket's path, a run is a process;
// several slots may lead to one run. A run is made for a process whose name or command line is a
// QEMU's, or else for the process that sends a QEMU's greeting. SocketConnector connects to the
// sockets; the source decides which run is behind each. Loop thread.
class QmpSource : public RunSource,
                  private DirectoryWatcher::Delegate,
                  private SocketConnector::Delegate {
 public:
  static constexpr const char* kKey = kQmpKey;  // SourceKind::key
  // Serves while each watched directory exists and can be read.
  static constexpr char kHealthService[] = "watch";

  // Its row in the table of sources.
  static SourceKind Kind();

  // `context` outlives the source. `table` is destroyed before the source, whose destructor does
  // not use it. An error names the system resource that is missing.
  static absl::StatusOr<std::unique_ptr<QmpSource>> Create(RunContext* context, RunTable* table);

  void Restore(VmSession session) override;
  void Start() override;
  bool first_scan_done() const override { return connector_.first_scan_done(); }
  void EndTurn() override;
  void OnOver(VmRun* run) override;
  // Returns whether a watched directory is there.
  bool is_open() const override { return directories_->any_present(); }
  std::vector<ServiceHealth> Health() const override;
  // Adds the watched directories, and the sockets without a run.
  void Describe(v1::GetServerInfoResponse* info) const override;
  std::vector<SourceMetric> Metrics() const override;
  std::string Trouble() const override;

  // Called by runs, from within any method that hands an input to a session, and from the loop.
  void OnMonitorReady(QmpRun* run, const std::string& uuid);
  // The connection is closed and the run is still open: connect again. `answered_for` is how long
  // QEMU had answered on it, zero if it never did.
  void OnMonitorEnded(QmpRun* run, QmpRun::MonitorEnd end, absl::Duration answered_for);
  // No known VM is behind the socket of `run`, of which nothing was published: discards the run.
  void OnNoVm(QmpRun* run, const Problem& problem);
  // `sender` is the first process that sent on the monitor of `run`. Returns whether another run
  // follows that process: then `run` was discarded.
  bool ReleaseToOther(QmpRun* run, const PeerProcess& sender);

  // The limits of the runs' monitors, and the disposal of a connection that may be on the call
  // stack.
  MonitorBudget* budget() { return &budget_; }
  void Retire(std::unique_ptr<MonitorConnection> connection) {
    closed_connections_.push_back(std::move(connection));
  }

  // The thread of the directory of spec number `spec`; -1: of all other directories.
  DirectoryThread* ThreadOf(int spec) const { return connector_.ThreadOf(spec); }
  const PathCheck& path_check() const { return path_check_; }
  QmpMeters& meters() { return meters_; }

 private:
  QmpSource(RunContext* context, RunTable* table);

  void OnSocket(int spec, const std::string& below, const SeenSocket& socket) override;
  void OnSocketGone(int spec, const std::string& below) override;
  void OnRead(int spec) override;
  void OnDirectories(std::vector<v1::WatchedDirectory> directories) override {
    const MutexLock lock(&mutex_);
    watched_ = std::move(directories);
  }

  bool OnSeen(SocketSlot* slot, const SeenSocket& seen) override;
  void OnConnected(SocketSlot* slot, const SeenSocket& seen, ReceivingSocket socket) override;
  void OnNobodyListens(SocketSlot* slot) override { EndUntrackedRun(slot); }
  // Reports a problem of the slot's run or, if it has none, of its socket.
  void ReportProblem(SocketSlot* slot, const Problem& problem) override;
  int CountRunsOf(uint32_t owner) const override;
  void OnHangChange(int spec) override;

  // Ends untracked runs of that spec, whose directory was read, to which no socket leads.
  void EndLostRuns(int spec);

  void DropSlotIfUnused(SocketSlot* slot);
  std::string RawVmName(const SocketSlot& slot) const;

  // Separates the slot from its run if `socket`, at the slot's path, is not the run's. The run
  // keeps its connection and its process.
  void LeaveReplacedRun(SocketSlot* slot, const SocketIdentity& socket);
  // Returns `run` if it belongs to this source; else null.
  static QmpRun* Own(VmRun* run);
  // The run of the process behind the slot's socket, made if need be. Null: it cannot be followed.
  QmpRun* RunFor(SocketSlot* slot, const SeenSocket& seen, PeerProcess peer);
  RunInfo Describe(const SocketSlot& slot, const SeenSocket& seen, const PeerProcess& peer);
  QmpRun* AddRun(SocketSlot* slot, uint32_t owner, std::unique_ptr<QmpRun> run);
  // Makes `slot` lead to `run`; null: to no run.
  void SetRun(SocketSlot* slot, QmpRun* run);
  // Ends an untracked run whose connection is closed and whose socket is gone: no input can follow.
  static void EndUntrackedRun(SocketSlot* slot);

  RunContext* const context_;
  RunTable* const table_;
  QmpMeters meters_;
  const std::vector<WatchSpec>& watches_;
  SlotTable slots_;
  MonitorBudget budget_;
  // Connections that may be on the call stack until the turn of the loop ends.
  std::vector<std::unique_ptr<MonitorConnection>> closed_connections_;
  PathCheck path_check_;
  SocketConnector connector_;
  std::unique_ptr<DirectoryWatcher> directories_;

  mutable Mutex mutex_;
  std::vector<v1::WatchedDirectory> watched_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd
