#include "watcher/qmp/slot_table.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace vmeventd {

SocketSlot* SlotTable::Find(absl::string_view path) const {
  const auto it = slots_.find(path);
  return it != slots_.end() ? it->second.get() : nullptr;
}

SocketSlot* SlotTable::At(const std::string& path) {
  if (SocketSlot* const known = Find(path)) return known;
  auto made = std::make_unique<SocketSlot>();
  made->path = path;
  const absl::string_view key = made->path;
  return slots_.try_emplace(key, std::move(made)).first->second.get();
}

void SlotTable::Drop(SocketSlot* slot) {
  Lead(slot, nullptr);
  const auto it = slots_.find(slot->path);
  if (it == slots_.end() || it->second.get() != slot) return;  // dropped already
  dropped_.push_back(std::move(it->second));
  slots_.erase(it);
}

void SlotTable::AddRun(SocketSlot* home, uint32_t owner, RunSockets* run) {
  run->home = home;
  run->owner = owner;
  ++home->runs;
}

void SlotTable::RemoveRun(RunSockets* run, const SocketIdentity& socket) {
  ForgetAttached(run);
  --run->home->runs;
  for (SocketSlot* slot : run->slots) {
    slot->leads_to = nullptr;
    slot->end_seen = slot->socket == socket;
  }
}

void SlotTable::Lead(SocketSlot* slot, RunSockets* run) {
  RunSockets* const before = slot->leads_to;
  if (before == run) return;
  if (before != nullptr) {
    before->slots.erase(std::find(before->slots.begin(), before->slots.end(), slot));
    if (before->attached_by == slot) before->attached_by = nullptr;
  }
  slot->leads_to = run;
  if (run == nullptr) return;
  run->slots.push_back(slot);
  run->path_taken = false;
}

void SlotTable::SetAttached(RunSockets* run, SocketSlot* slot, const SeenSocket& seen) {
  ForgetAttached(run);
  run->attached_inode = InodeOf(seen.identity);
  by_inode_[*run->attached_inode] = run;
  run->attached_by = slot;
  run->owner = seen.owner;
}

RunSockets* SlotTable::AttachedBy(const InodeKey& inode) const {
  const auto it = by_inode_.find(inode);
  return it != by_inode_.end() ? it->second : nullptr;
}

void SlotTable::ForgetAttached(RunSockets* run) {
  if (!run->attached_inode.has_value()) return;
  const auto it = by_inode_.find(*run->attached_inode);
  // A later run may have been attached by a socket of that inode.
  if (it != by_inode_.end() && it->second == run) by_inode_.erase(it);
  run->attached_inode.reset();
}

void SlotTable::SetSeen(SocketSlot* slot, const SocketIdentity& socket) {
  if (!(slot->socket == socket)) {
    slot->silent_until = absl::ZeroDuration();
    slot->end_seen = false;
    slot->left_alone = false;
  }
  slot->socket = socket;
}

bool SlotTable::SetProblem(SocketSlot* slot, absl::string_view raw_name, const Problem& problem,
                           absl::Time now) {
  if (slot->problem == problem) return false;
  slot->problem = problem;
  unfollowed_.Add(slot->path, raw_name, problem, now);
  return true;
}

void SlotTable::ClearProblem(SocketSlot* slot) {
  if (slot->problem.empty()) return;
  slot->problem = {};
  unfollowed_.Remove(slot->path);
}

}  // namespace vmeventd
