#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "watcher/core/run_info.h"
#include "watcher/runs/process.h"
#include "watcher/runs/process_watch.h"

namespace vmeventd {

// The processes of a run beside the one that its ProcessWatch follows: those that speak on its
// monitor, or may. kMaxOtherProcesses are followed, by a pidfd each. Those for which no descriptor
// was left wait for one, known by pid and start; a run is not connected while one waits, so that
// their number stays small. Calls its run from the loop and from within every method. Loop thread.
class OtherProcesses {
 public:
  // Both outlive it. `waiting` were known to a daemon before this one.
  OtherProcesses(ProcessContext* context, VmRun* run, const std::vector<ProcessId>& waiting);
  ~OtherProcesses() { Clear(); }

  // Follows `process`, which is tracked, if `room` descriptors are left; else it waits.
  void Add(PeerProcess process, int room);
  void AddWaiting(const ProcessId& process);
  // Follows those that wait, with `room` descriptors at the most, and forgets those that have
  // ended.
  void FollowWaiting(int room);
  // Gives the first one away that lives. NOT_FOUND: none does. RESOURCE_EXHAUSTED: no descriptor
  // is left to find out.
  absl::StatusOr<PeerProcess> TakeLiving();
  void Clear();

  // Returns whether `pid` is one of those that are followed, and lives.
  bool Has(int64_t pid) const;
  bool empty() const { return members_.empty(); }
  bool any_waits() const {
    return std::any_of(members_.begin(), members_.end(), &OtherProcesses::Waits);
  }
  bool full() const { return followed() >= kMaxOtherProcesses; }
  size_t followed() const {
    return static_cast<size_t>(std::count_if(members_.begin(), members_.end(),
                                             [](const auto& member) { return !Waits(member); }));
  }
  std::vector<ProcessId> List() const;

 private:
  struct Member : FdHandler {
    Member(OtherProcesses* processes, const ProcessId& known_by) : set(processes), id(known_by) {}
    void OnFdReady(uint32_t /*events*/) override { set->OnEnded(this); }

    OtherProcesses* const set;
    const ProcessId id;
    UniqueFd pidfd;  // not valid: it waits
    std::optional<ProcessKey> key;
  };
  using MemberPtr = std::unique_ptr<Member>;
  static bool Waits(const MemberPtr& member) { return !member->pidfd.valid(); }

  // Returns whether `process` is followed as `member` now.
  bool Follow(Member* member, PeerProcess process);
  UniqueFd Unfollow(Member* member);
  void OnEnded(Member* member);

  ProcessContext* const context_;
  VmRun* const run_;
  std::vector<MemberPtr> members_;  // in the order in which they were added
};

}  // namespace vmeventd
