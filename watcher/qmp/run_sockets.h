#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "absl/container/inlined_vector.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/qmp/socket_slot.h"

namespace vmeventd {

// The sockets of a run, as SlotTable has them.
struct RunSockets {
  QmpRun* run = nullptr;
  SocketSlot* home = nullptr;  // the slot where it was first seen, which gives it its name
  // The slots that lead to it. `attached_by`: the one that it was attached by last; null: that slot
  // was removed.
  absl::InlinedVector<SocketSlot*, 1> slots;
  SocketSlot* attached_by = nullptr;
  // The socket that it was attached by last, by which it is found again.
  std::optional<InodeKey> attached_inode;
  uint32_t owner = 0;  // the owner of that socket
  // Another socket took the place of its own, and no slot has led to the run since.
  bool path_taken = false;
  // The listening process is visible, or was until its end: so senders are visible too.
  bool listener_seen = false;

  // Returns whether an existing socket leads to the run.
  bool HasPresentSocket() const {
    return std::any_of(slots.begin(), slots.end(),
                       [](const SocketSlot* slot) { return slot->present; });
  }
};

inline QmpRun* SocketSlot::run() const { return leads_to != nullptr ? leads_to->run : nullptr; }

}  // namespace vmeventd
