#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "base/uuid.h"
#include "watcher/core/update_sink.h"
#include "watcher/core/vm_update.h"
#include "watcher/host/host_shutdown_api.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/peer_process.h"
#include "watcher/runs/run_source.h"
#include "watcher/runs/vm_run.h"
#include "watcher/runs/watcher_counters.h"

namespace vmeventd {

// The followed runs of all sources, with an index for each way to find them. Pushes what they
// publish to the sink. A run that is over leaves the table at once, and is destroyed by the next
// EndTurn(). Loop thread.
class RunTable {
 public:
  // Both outlive the table.
  RunTable(UpdateSink* sink, WatcherMeters* meters) : sink_(sink), meters_(meters) {}

  // Adds a run whose id is not in the table. `source` outlives the table's use.
  VmRun* Add(RunSource* source, std::unique_ptr<VmRun> run);

  // Finds a run by its id; null: there is none.
  VmRun* Find(absl::string_view run_id) const;
  // Finds a run by its process, whether or not it holds a descriptor of that. Null as well for a
  // process that is not tracked, or cannot be distinguished from others.
  VmRun* FindByProcess(const PeerProcess& process) const;
  VmRun* FindByIntent(const std::string& intent_id) const;
  std::vector<VmRun*> RunsOf(const RunSource* source) const;
  // Runs of VMs of that name.
  std::vector<VmRun*> Named(const std::string& name) const;

  // The first `limit` runs of VMs with that UUID, in the order in which they got it.
  std::vector<VmRun*> WithUuid(const Uuid& uuid, size_t limit = SIZE_MAX) const;

  // Sets the UUID that QEMU reported; "" or another text that is no UUID: the VM has none. No-op if
  // the run is over.
  void SetUuid(VmRun* run, absl::string_view uuid);
  // Reports from now on which runs share a UUID. Before this call, runs may still be missing.
  void ReportSharedUuids();

  // Sets the state of the host's shutdown, for all present and later runs. A restored run gets it
  // only by ApplyHostShutdown(): it may have ended before the host's present report.
  void SetHostShutdown(const HostShutdownState& state);
  void ApplyHostShutdown(VmRun* run) const;
  // The same, before the input that waits on the run's monitor is handled. No-op if the host shuts
  // down.
  void ApplyHostCancel(VmRun* run) const;

  // Returns whether a process is known to be gone whose run's end may not have been published yet.
  bool HasEnding() const;
  // Number of ends so far that nobody saw as they happened, and how many of them are UNKNOWN.
  struct LateEnds {
    int all = 0;
    int unknown = 0;
  };
  const LateEnds& late_ends() const { return late_ends_; }

  // Publishes what the runs have not published yet, and the ends that wait for QEMU's last words.
  // The daemon stops: no run takes any more input.
  void PublishRest();
  // See NodeWatcher::HandOver().
  OpenRuns HandOver();
  void EndTurn() { ended_.clear(); }

  // Called by its runs, from within any method that hands an input to a session, and from the loop.
  void OnPublish(VmUpdate update);
  // Call it when the run has another process than before, or none.
  void OnProcessChanged(VmRun* run);
  // Call it when one of the `kills` that the cgroup counts was that of `run`, and so of no other
  // run in it.
  void OnOomKill(VmRun* run, uint64_t kills);
  // Call it when the run is over. Its end is published if its start was; it takes no more input.
  void OnOver(VmRun* run);

 private:
  // A run, with its source and its keys in the indexes.
  struct Entry {
    std::unique_ptr<VmRun> run;
    RunSource* source = nullptr;
    std::optional<Uuid> uuid = {};           // in by_uuid_
    std::optional<ProcessKey> process = {};  // in by_process_
  };

  void ForgetUuid(const Uuid& uuid, VmRun* run);
  // Updates what the users of a UUID report, which depends on whether they are one, two or more.
  void UpdateUuidProblems(const Uuid& uuid);
  std::string UuidProblem(const std::optional<Uuid>& uuid, const VmRun* run) const;

  UpdateSink* const sink_;
  WatcherMeters* const meters_;
  bool reports_shared_uuids_ = false;
  LateEnds late_ends_;
  std::optional<HostShutdownState> host_;  // unset: not reported yet
  absl::btree_multimap<Uuid, VmRun*> by_uuid_;
  absl::flat_hash_map<ProcessKey, VmRun*> by_process_;
  absl::flat_hash_map<absl::string_view, Entry> runs_;  // by RunInfo::run_id
  std::vector<std::unique_ptr<VmRun>> ended_;           // may be on the call stack
};

}  // namespace vmeventd
