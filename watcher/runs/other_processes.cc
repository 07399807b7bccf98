#include "watcher/runs/other_processes.h"

#include <sys/epoll.h>

#include <utility>

#include "absl/status/status.h"
#include "watcher/runs/vm_run.h"

namespace vmeventd {

OtherProcesses::OtherProcesses(ProcessContext* context, VmRun* run,
                               const std::vector<ProcessId>& waiting)
    : context_(context), run_(run) {
  for (const ProcessId& process : waiting) AddWaiting(process);
}

void OtherProcesses::Add(PeerProcess process, int room) {
  members_.push_back(std::make_unique<Member>(this, ProcessId{process.pid, process.start_ticks}));
  if (room > 0 && !full()) Follow(members_.back().get(), std::move(process));
}

void OtherProcesses::AddWaiting(const ProcessId& process) {
  const auto known = [&](const MemberPtr& member) { return member->id == process; };
  if (std::any_of(members_.begin(), members_.end(), known)) return;
  members_.push_back(std::make_unique<Member>(this, process));
}

bool OtherProcesses::Follow(Member* member, PeerProcess process) {
  if (!context_->loop->Add(process.pidfd.get(), EPOLLIN, member).ok()) return false;
  member->key = KeyOf(process);
  member->pidfd = std::move(process.pidfd);
  ++context_->vm_descriptors;
  run_->OnOtherFollowed(member->key);
  return true;
}

UniqueFd OtherProcesses::Unfollow(Member* member) {
  UniqueFd pidfd = std::move(member->pidfd);
  if (!pidfd.valid()) return pidfd;
  context_->loop->Remove(pidfd.get());
  --context_->vm_descriptors;
  run_->OnOtherUnfollowed(member->key);
  return pidfd;
}

void OtherProcesses::FollowWaiting(int room) {
  for (size_t i = 0; i < members_.size();) {
    Member* const member = members_[i].get();
    if (member->pidfd.valid() || room <= 0 || full()) {
      ++i;
      continue;
    }
    absl::StatusOr<PeerProcess> found = IdentifyAgain(member->id.pid, member->id.start_ticks);
    if (found.ok() && found->kind != PeerProcess::Kind::kTracked) {
      members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(i));
      continue;
    }
    if (!found.ok() || !Follow(member, *std::move(found))) return;
    --room;
    ++i;
  }
}

absl::StatusOr<PeerProcess> OtherProcesses::TakeLiving() {
  while (!members_.empty()) {
    Member* const member = members_.front().get();
    absl::StatusOr<PeerProcess> process =
        PeerProcess{PeerProcess::Kind::kTracked, member->id.pid, member->id.start_ticks, {}};
    if (member->pidfd.valid()) {
      process->pidfd = Unfollow(member);
      if (HasEnded(process->pidfd.get())) process->kind = PeerProcess::Kind::kGone;
    } else {
      process = context_->spares.Do(
          [member] { return IdentifyAgain(member->id.pid, member->id.start_ticks); });
      if (!process.ok()) return process.status();
    }
    members_.erase(members_.begin());
    if (process->kind == PeerProcess::Kind::kTracked) return process;
  }
  return absl::NotFoundError("all have ended");
}

void OtherProcesses::Clear() {
  for (const MemberPtr& member : members_) Unfollow(member.get());
  members_.clear();
}

bool OtherProcesses::Has(int64_t pid) const {
  return std::any_of(members_.begin(), members_.end(), [pid](const MemberPtr& member) {
    return member->id.pid == pid && member->pidfd.valid() && !HasEnded(member->pidfd.get());
  });
}

std::vector<ProcessId> OtherProcesses::List() const {
  std::vector<ProcessId> list;
  list.reserve(members_.size());
  for (const MemberPtr& member : members_) list.push_back(member->id);
  return list;
}

void OtherProcesses::OnEnded(Member* member) {
  Unfollow(member);
  const auto it = std::find_if(members_.begin(), members_.end(),
                               [member](const MemberPtr& each) { return each.get() == member; });
  const MemberPtr ended = std::move(*it);  // it is on the call stack
  members_.erase(it);
  run_->OnOtherGone();
}

}  // namespace vmeventd
