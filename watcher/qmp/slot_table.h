#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "watcher/core/problem.h"
#include "watcher/core/run_info.h"
#include "watcher/qmp/run_sockets.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/qmp/socket_slot.h"
#include "watcher/qmp/unfollowed_sockets.h"

namespace vmeventd {

// The slots of QmpSource by their path: which run each of them leads to, by which socket a run was
// attached, and the problem of a socket that leads to no run. It decides nothing: it makes no
// system call, sets no timer and calls no run. Loop thread, except unfollowed().
class SlotTable {
 public:
  // Returns the slot of that path; null: there is none.
  SocketSlot* Find(absl::string_view path) const;
  // Finds the slot of that path, or makes it.
  SocketSlot* At(const std::string& path);
  // Removes a slot that is unused(). It exists until FreeDropped(), because it may be on the call
  // stack; its timer must not be set.
  void Drop(SocketSlot* slot);
  void FreeDropped() { dropped_.clear(); }

  // Call it when a run was found at `home`, which gives the run its name; `owner` is the user of
  // that socket.
  void AddRun(SocketSlot* home, uint32_t owner, RunSockets* run);
  // Call it when the run is over, and `socket` was the last one of its monitor: no slot leads to it
  // any more. run->home and run->slots stay as they were.
  void RemoveRun(RunSockets* run, const SocketIdentity& socket);

  // Makes `slot` lead to `run`; null: to no run.
  void Lead(SocketSlot* slot, RunSockets* run);
  // Call it when the run was attached by the slot's socket, which was seen as `seen`.
  void SetAttached(RunSockets* run, SocketSlot* slot, const SeenSocket& seen);
  // Returns the run that was attached last by a socket with that inode; null: none that is open.
  RunSockets* AttachedBy(const InodeKey& inode) const;

  // `socket` is at the slot's path now. Discards what is known about a previous one there.
  static void SetSeen(SocketSlot* slot, const SocketIdentity& socket);

  // Stores the problem of a slot that leads to no run, and lists it as unfollowed: named after the
  // VM `raw_name`, since `now` if it was not listed. Returns false if the slot has that problem
  // already.
  bool SetProblem(SocketSlot* slot, absl::string_view raw_name, const Problem& problem,
                  absl::Time now);
  void ClearProblem(SocketSlot* slot);
  UnfollowedSockets& unfollowed() { return unfollowed_; }
  const UnfollowedSockets& unfollowed() const { return unfollowed_; }

 private:
  void ForgetAttached(RunSockets* run);

  absl::flat_hash_map<absl::string_view, std::unique_ptr<SocketSlot>> slots_;  // SocketSlot::path
  std::vector<std::unique_ptr<SocketSlot>> dropped_;
  absl::flat_hash_map<InodeKey, RunSockets*> by_inode_;  // RunSockets::attached_inode
  UnfollowedSockets unfollowed_;
};

}  // namespace vmeventd
