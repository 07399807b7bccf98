#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "base/keyed_set.h"
#include "base/uuid.h"
#include "watcher/core/event_sink.h"
#include "watcher/runs/process.h"
#include "watcher/runs/run_source.h"
#include "watcher/runs/vm_run.h"

namespace vmeventd {

class VmRun;

// Which live runs use a UUID, to find those that share one. Each step takes constant time,
// whatever the number of runs that share it. Loop thread.
class UuidIndex {
 public:
  // Adds or removes a user. Returns the runs for which it changed what OtherUser and UserCount
  // say, but for `run` itself.
  std::vector<VmRun*> Add(const Uuid& uuid, VmRun* run);
  std::vector<VmRun*> Remove(const Uuid& uuid, VmRun* run);

  size_t UserCount(const Uuid& uuid) const;
  std::vector<VmRun*> UsersOf(const Uuid& uuid) const;
  // The other one, where there are two.
  VmRun* OtherUser(const Uuid& uuid, const VmRun* run) const;

 private:
  using Users = absl::flat_hash_set<VmRun*>;

  absl::flat_hash_map<Uuid, VmRun*> single_;  // used by one
  absl::flat_hash_map<Uuid, Users> shared_;   // used by more
};

// The runs that are followed, of all sources, by all that they are looked up by. Pushes what they
// publish to the sink. A run that is over leaves the table at once, and is destroyed by the next
// EndTurn(). Loop thread.
class RunTable : public VmRun::Owner {
 public:
  // Both outlive the table.
  RunTable(EventSink* sink, WatcherMeters* meters) : sink_(sink), meters_(meters) {}

  // Adds a run whose id is not in the table. `source` outlives the table's use.
  VmRun* Add(RunSource* source, std::unique_ptr<VmRun> run);

  // Returns the source of a run in the table.
  static RunSource* SourceOf(const VmRun* run) { return run->source_; }
  // Null without one.
  VmRun* Find(absl::string_view run_id) const;
  VmRun* FindByProcess(const ProcessKey& key) const;
  // Finds also a restored run that has no descriptor yet (AwaitProcess). Null as well for a process
  // that is not tracked, or cannot be distinguished from others.
  VmRun* FindByProcess(const PeerProcess& process) const;
  // From now on a restored run is found by its process, for which no descriptor was left.
  void AwaitProcess(const VmRun* run);
  VmRun* FindByIntent(const std::string& intent_id) const;
  std::vector<VmRun*> RunsOf(const RunSource* source) const;
  // The runs of VMs of that name.
  std::vector<VmRun*> Named(const std::string& name) const;

  std::vector<VmRun*> WithUuid(const Uuid& uuid) const { return uuids_.UsersOf(uuid); }

  // The UUID that QEMU reported; "" or another text that is none: it has none.
  void SetUuid(VmRun* run, absl::string_view uuid);
  // Reports from now on which runs share a UUID. Before, others of a UUID may still be missing.
  void ReportSharedUuids();

  // Returns whether the host shuts down, for all runs and those that come. One that is restored
  // waits for ApplyHostShutdown: it may have ended before what the host says now.
  void SetHostShutdown(const HostShutdownState& state);
  void ApplyHostShutdown(VmRun* run) const;
  // Likewise, before that, of one whose monitor is read on: where the host does not shut down.
  void ApplyHostCancel(VmRun* run) const;

  // Pushes every open run's status and what is kept of it once more.
  void PublishAll();
  void EndTurn() { ended_.clear(); }

  void OnPublish(VmRun* run, VmUpdate update) override;
  void OnFollowed(VmRun* run, const ProcessKey& key) override;
  void OnUnfollowed(VmRun* run, const ProcessKey& key) override;
  bool OwnsName(const VmRun* run) const override;
  void OnOomKill(VmRun* run, uint64_t kills) override;
  void OnOver(VmRun* run) override;

 private:
  void ForgetName(VmRun* run);
  void UpdateUuidProblems(const std::vector<VmRun*>& runs);
  std::string UuidProblem(const VmRun* run) const;

  EventSink* const sink_;
  WatcherMeters* const meters_;
  bool reports_shared_uuids_ = false;
  std::optional<HostShutdownState> host_;  // unset: it has not said
  UuidIndex uuids_;
  absl::flat_hash_map<ProcessKey, VmRun*> by_process_;
  absl::flat_hash_map<ProcessKey, std::string> awaited_;  // ids of runs, which may be over
  absl::flat_hash_map<std::string, VmRun*> intents_;      // by the id of a run's open intent
  // Nearly always one.
  using SameName = absl::InlinedVector<VmRun*, 1>;
  absl::flat_hash_map<absl::string_view, SameName> by_name_;  // RunInfo::name
  struct RunId {
    static absl::string_view Of(absl::string_view run_id) { return run_id; }
    static absl::string_view Of(const std::unique_ptr<VmRun>& run) { return run->info().run_id; }
  };
  KeyedSet<std::unique_ptr<VmRun>, RunId> runs_;
  std::vector<std::unique_ptr<VmRun>> ended_;  // may be on the call stack
};

}  // namespace vmeventd
