#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "watcher/qmp/qmp_run.h"
#include "watcher/qmp/unfollowed_sockets.h"
#include "watcher/runs/named_monitors.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/run_table.h"

namespace vmeventd {

// Looks for QEMUs that share a path, and for sockets that are named after another VM
// (path_conflicts.h), after runs have begun or ended; and for VMs that vmeventd cannot connect to
// again, because another QEMU took their path, or because there is no socket since its own restart.
// Reports them as problems of the VMs, and lists the QEMUs that cannot be followed. Loop thread.
class PathCheck {
 public:
  // Checks the runs of `source`, all of which are QmpRuns. The pointers outlive this.
  PathCheck(RunContext* context, const RunTable* table, const RunSource* source,
            UnfollowedSockets* unfollowed)
      : context_(context), table_(table), source_(source), unfollowed_(unfollowed) {}

  // Call it when a run was added to the table.
  void OnBegun();
  // Call it when another socket has taken the place of a run's.
  void OnTaken();
  // Call it when a socket leads to `run` to which none has led before, or another one.
  void OnFound(const QmpRun& run);
  // Call it when a run is over. `was_shared`: another run that was found at the same path is still
  // open.
  void OnOver(bool was_shared);

  // Returns whether the path of `run` names another VM whose QEMU runs: then the QEMU called
  // `qemu_name` took that VM's path, as a clone does.
  bool IsNamedAfterAnother(const QmpRun& run, absl::string_view qemu_name) const;

 private:
  // Checks after `delay`, or earlier.
  void CheckIn(absl::Duration delay);
  void Check();
  void Report(const std::vector<NamedMonitors::Qemu>& qemus);
  // Returns whether the run had a conflict, or another socket took the place of its own, and no
  // socket leads to it now: it cannot be connected to again.
  static bool HasLostPath(const QmpRun& run);
  // Returns whether a run that was followed before the daemon's start has no socket.
  bool IsWithoutSocket(const QmpRun& run) const;
  static void SetProblem(QmpRun* run, const std::string& problem);

  RunContext* const context_;
  const RunTable* const table_;
  const RunSource* const source_;
  UnfollowedSockets* const unfollowed_;
  TimerId timer_;
  absl::Duration check_at_ = absl::InfiniteDuration();
  // The read of all QEMUs' command lines for which the check waits, at most until `qemus_due_`.
  std::shared_ptr<const NamedMonitors> qemus_;
  absl::Duration qemus_due_;
  bool has_conflicts_ = false;  // at the last check
};

}  // namespace vmeventd
