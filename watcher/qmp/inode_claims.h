#ifndef VMEVENTD_WATCHER_QMP_INODE_CLAIMS_H_
#define VMEVENTD_WATCHER_QMP_INODE_CLAIMS_H_

#include <vector>

#include "absl/container/flat_hash_map.h"
#include "watcher/qmp/socket_slot.h"

namespace vmeventd {

// Sees to it that a socket with several paths (two --watch of one directory under different names,
// hard links) is followed once: the first path claims its inode, the others wait. Loop thread.
class InodeClaims {
 public:
  // Claims `inode` for `slot`, which gives up what it claimed before. False if another slot has
  // it; `slot` then waits for it. `freed` receives the slots that may claim what was given up.
  bool Claim(const InodeKey& inode, SocketSlot* slot, std::vector<SocketSlot*>* freed) {
    if (slot->claims_inode && slot->inode == inode) return true;
    *freed = Release(slot);
    slot->inode = inode;
    slot->claims_inode = owners_.try_emplace(inode, slot).second;
    if (!slot->claims_inode) {
      slot->awaits_inode = true;
      waiting_[inode].push_back(slot);
    }
    return slot->claims_inode;
  }

  // Gives up what `slot` claims or waits for. Returns the slots that may claim it now.
  std::vector<SocketSlot*> Release(SocketSlot* slot) {
    std::vector<SocketSlot*> freed;
    const auto waiting = waiting_.find(slot->inode);
    if (slot->claims_inode) {
      owners_.erase(slot->inode);
      if (waiting != waiting_.end()) {
        freed = std::move(waiting->second);
        for (SocketSlot* other : freed) other->awaits_inode = false;
        waiting_.erase(waiting);
      }
    } else if (slot->awaits_inode) {
      std::erase(waiting->second, slot);
      if (waiting->second.empty()) waiting_.erase(waiting);
    }
    slot->claims_inode = slot->awaits_inode = false;
    return freed;
  }

 private:
  absl::flat_hash_map<InodeKey, SocketSlot*> owners_;
  absl::flat_hash_map<InodeKey, std::vector<SocketSlot*>> waiting_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_QMP_INODE_CLAIMS_H_
