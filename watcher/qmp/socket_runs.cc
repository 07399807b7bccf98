// The runs behind the sockets of a SocketConnector.

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "watcher/core/names.h"
#include "watcher/qmp/socket_connector.h"
#include "watcher/qmp/socket_slot.h"
#include "watcher/runs/shutdown_file.h"

namespace vmeventd {
namespace {

// Sockets of one process beside the one that it is followed by.
constexpr size_t kMaxWays = 8;

// Owner of a run until it is attached.
constexpr uint32_t kUnknownOwner = ~0U;

// Returns whether `process` is the one that `run` is followed by.
bool IsProcessOf(const VmRun& run, const PeerProcess& process) {
  return run.info().pid == process.pid && run.info().start_ticks == process.start_ticks;
}

}  // namespace

QmpRun* SocketConnector::Own(VmRun* run) const {
  const bool own = run != nullptr && RunTable::SourceOf(run) == this;
  return own ? static_cast<QmpRun*>(run) : nullptr;
}

QmpRun* SocketConnector::FindOrMakeRun(SocketSlot* slot, const SocketFile& file, PeerProcess peer) {
  const bool tracked = peer.kind == PeerProcess::Kind::kTracked;
  if (QmpRun* const known = FindRun(*slot, file.identity, peer); known != nullptr) {
    if (!tracked || known->followed()) return known;
    // A run without a descriptor is as before: its process is looked for again, or stays unknown.
    if (known->tracked()) {
      if (IsProcessOf(*known, peer)) known->Track(std::move(peer)).IgnoreError();
    } else {
      known->TrackInstead(std::move(peer)).IgnoreError();
    }
    return known;
  }
  // The socket is another process's than that of the run it led to, which goes on by its process.
  EndUntrackedRun(slot);
  SetRun(slot, nullptr);
  if (VmRun* const other = table_->FindByProcess(peer); other != nullptr) {
    // It is no run of this source. The socket leads nowhere else as long as that process lives.
    BackOff(slot, kMaxRefusedRetry, kMaxRefusedRetry);
    ReportProblem(slot, absl::StrCat("its process is followed as ", other->info().name, " of ",
                                     other->info().source));
    return nullptr;
  }
  // The run needed fewer descriptors than a new one.
  if (const char* const shortage = Shortage(*slot, file); shortage != nullptr) {
    AwaitDescriptors(slot, shortage);
    return nullptr;
  }
  spdlog::debug("following {}, {}", absl::CHexEscape(slot->path),
                tracked ? absl::StrCat("pid ", peer.pid) : "its process is not tracked");
  auto run = std::make_unique<QmpRun>(
      context_, table_, this,
      VmSession(Describe(*slot, file, peer), &context_->options->session, context_->loop->Now()));
  if (tracked) {
    if (const absl::Status status = run->Track(std::move(peer)); !status.ok()) {
      OnNotConnected(slot, ConnectOutcome::kFailed, status.message());
      return nullptr;
    }
  }
  return AddRun(slot, file.owner, std::move(run));
}

RunInfo SocketConnector::Describe(const SocketSlot& slot, const SocketFile& file,
                                  const PeerProcess& peer) {
  const bool tracked = peer.kind == PeerProcess::Kind::kTracked;
  RunInfo info;
  info.run_id = NewRunId(slot, file.identity, peer);
  const std::string raw_name = RawVmName(slot);
  info.name = EscapeName(raw_name);
  info.SetRawName(std::string(raw_name));
  info.monitor_path = EscapeNonUtf8(slot.path);
  info.SetRawPath(slot.path);
  info.source = QmpSource(info.monitor_path);
  info.boot_id = context_->boot_id;
  info.pid_namespace = context_->pid_namespace;
  info.process_tracked = tracked;
  if (tracked) info.SetProcess(DescribeProcess(peer, *context_->oom_counters));
  info.socket = file.identity;
  info.shutdown_file_mark = NewShutdownFileMark();
  return info;
}

QmpRun* SocketConnector::FindRun(const SocketSlot& slot, const SocketIdentity& socket,
                                 const PeerProcess& peer) {
  // The peer is who listened, which may be the launcher of the QEMU that has spoken there; and
  // before Linux 6.5, where that is gone, another process that has its id.
  if (slot.run != nullptr && slot.run->info().socket == socket) return slot.run;
  if (QmpRun* const known = Own(table_->FindByProcess(peer)); known != nullptr) return known;
  if (peer.start_ticks == 0) return nullptr;
  QmpRun* const same_id = Own(table_->Find(RunIdOf(slot, peer)));
  return same_id != nullptr && IsProcessOf(*same_id, peer) ? same_id : nullptr;
}

QmpRun* SocketConnector::RunAttachedBy(const SocketIdentity& socket) const {
  const auto it = by_socket_.find(InodeOf(socket));
  if (it == by_socket_.end()) return nullptr;
  QmpRun* const run = *it;
  return run->connected() && run->info().socket == socket ? run : nullptr;
}

void SocketConnector::ForgetSocket(QmpRun* run) {
  std::optional<InodeKey>& inode = run->sockets().attached_inode;
  if (!inode.has_value()) return;
  const auto it = by_socket_.find(*inode);
  // A later run may have been attached by a socket of that inode.
  if (it != by_socket_.end() && *it == run) by_socket_.erase(it);
  inode.reset();
}

void SocketConnector::NoteSocket(QmpRun* run, SocketSlot* slot, const SocketFile& file) {
  RunSockets& sockets = SocketsOf(run);
  ForgetSocket(run);
  sockets.attached_inode = InodeOf(file.identity);
  by_socket_.erase(*sockets.attached_inode);
  by_socket_.insert(run);
  sockets.attached_by = slot;
  SetOwner(&sockets, file.owner);
}

void SocketConnector::SetOwner(RunSockets* sockets, uint32_t owner) {
  if (--runs_of_[sockets->owner] == 0) runs_of_.erase(sockets->owner);
  sockets->owner = owner;
  ++runs_of_[owner];
}

void SocketConnector::SetRun(SocketSlot* slot, QmpRun* run) {
  if (slot->run == run) return;
  if (slot->run != nullptr) {
    RunSockets& before = SocketsOf(slot->run);
    before.ways.erase(std::find(before.ways.begin(), before.ways.end(), slot));
    if (before.attached_by == slot) before.attached_by = nullptr;
  }
  slot->run = run;
  if (run == nullptr) return;
  RunSockets& sockets = SocketsOf(run);
  sockets.ways.push_back(slot);
  if (run->published()) ForgetProblem(slot);
  // One of many: the oldest but the first is not used any more.
  if (sockets.ways.size() > kMaxWays) {
    context_->meters.sockets_over_process_limit.Add();
    SetRun(sockets.ways[1], nullptr);
  }
}

void SocketConnector::OnSpeaker(QmpRun* run, PeerProcess speaker) {
  const RunSockets& sockets = SocketsOf(run);
  SocketSlot* const slot = sockets.attached_by != nullptr ? sockets.attached_by : sockets.home;
  const SocketFile file{UniqueFd(), run->info().socket, sockets.owner};
  std::unique_ptr<MonitorConnection> connection = run->TakeConnection();
  ++slot->runs;  // it outlives the run that is discarded
  run->Discard();
  slot->backoff = absl::ZeroDuration();
  QmpRun* const real = FindOrMakeRun(slot, file, std::move(speaker));
  if (real != nullptr) SetRun(slot, real);
  --slot->runs;
  if (real == nullptr || real->connected()) {
    connection->Close();
    context_->closed_connections.push_back(std::move(connection));
    return DropSlotIfUnused(slot);
  }
  context_->loop->CancelTimer(&slot->retry);
  real->Adopt(std::move(connection), file.identity);
  NoteSocket(real, slot, file);
}

void SocketConnector::OnSpeakerUnread(QmpRun* run) {
  const RunSockets& sockets = SocketsOf(run);
  SocketSlot* const slot = sockets.attached_by != nullptr ? sockets.attached_by : sockets.home;
  ++slot->runs;  // it outlives the run that is discarded
  run->Discard();
  --slot->runs;
  if (slot->present) AwaitDescriptors(slot, kOutOfDescriptorsProblem);
  DropSlotIfUnused(slot);
}

std::string SocketConnector::RunIdOf(const SocketSlot& slot, const PeerProcess& process) const {
  return MakeRunId({.boot_id = context_->boot_id,
                    .monitor_path = std::string(slot.path),
                    .pid = process.pid,
                    .start_ticks = process.start_ticks});
}

std::string SocketConnector::NewRunId(const SocketSlot& slot, const SocketIdentity& socket,
                                      const PeerProcess& peer) {
  if (peer.start_ticks != 0) {
    std::string by_process = RunIdOf(slot, peer);
    if (table_->Find(by_process) == nullptr &&
        std::find(used_ids_.begin(), used_ids_.end(), by_process) == used_ids_.end()) {
      return by_process;
    }
  }
  return MakeRunId({.boot_id = context_->boot_id,
                    .monitor_path = std::string(slot.path),
                    .socket_inode = socket.inode,
                    .first_seen_ns = context_->NewFirstSeen()});
}

void SocketConnector::NoteUsedId(const std::string& run_id) {
  constexpr size_t kMaxUsedIds = 1000;
  if (used_ids_.size() == kMaxUsedIds) used_ids_.pop_front();
  used_ids_.push_back(run_id);
}

QmpRun* SocketConnector::AddRun(SocketSlot* slot, uint32_t owner, std::unique_ptr<QmpRun> run) {
  QmpRun* const added = run.get();
  RunSockets& sockets = added->sockets();
  sockets.home = slot;
  sockets.owner = owner;
  ++runs_of_[owner];
  ++slot->runs;
  table_->Add(this, std::move(run));
  return added;
}

void SocketConnector::EndUntrackedRun(SocketSlot* slot) {
  QmpRun* const run = slot->run;
  if (run != nullptr && !run->tracked() && !run->connected()) run->End();
}

void SocketConnector::OnMonitorReady(QmpRun* run, const std::string& uuid) {
  table_->SetUuid(run, uuid);
}

// Runs that a daemon before this one left

VmRun* SocketConnector::Restore(VmSession session) {
  SocketSlot* const slot = SlotAt(session.run().raw_path());
  slot->spec = SpecOf(slot->path);
  QmpRun* const run = AddRun(slot, kUnknownOwner,
                             std::make_unique<QmpRun>(context_, table_, this, std::move(session)));
  SetRun(slot, run);
  return run;
}

bool SocketConnector::GoOn(VmRun* run, HandedRun* handed) {
  QmpRun* const own = Own(run);
  SocketSlot* const slot = SocketsOf(run).home;
  // A socket that is watched no longer is left to others.
  if (slot->run != own || slot->spec < 0) return false;
  if (!context_->options->process_tracking && run->tracked()) return false;
  if (context_->vm_descriptors + kDescriptorsOfRun > context_->max_vm_descriptors) {
    return false;
  }
  const uint32_t owner = handed->socket_owner;
  if (!own->GoOn(handed)) return false;
  NoteSocket(own, slot, {UniqueFd(), run->info().socket, owner});
  return true;
}

std::vector<HandedRun> SocketConnector::HandOver() {
  std::vector<HandedRun> all;
  for (VmRun* run : table_->RunsOf(this)) {
    std::optional<HandedRun> handed = Own(run)->HandOver();
    if (!handed.has_value()) continue;
    handed->socket_owner = SocketsOf(run).owner;
    all.push_back(*std::move(handed));
  }
  return all;
}

bool SocketConnector::IsAt(const SocketSlot& slot, const VmRun& run) {
  SocketIdentity there;
  return IdentifySocket(slot.path, &there) == 0 && IsSocketOf(run, slot, there);
}

void SocketConnector::OnRestored(VmRun* run) {
  // The path by which it was followed has the first claim on its socket.
  SocketSlot* const slot = SocketsOf(run).home;
  if (slot->run == run && slot->spec >= 0 && IsAt(*slot, *run)) {
    ClaimInode(slot, run->info().socket);
  }
  if (run->connected()) Own(run)->CatchUp();
}

void SocketConnector::EndUnreachableRuns() {
  if (!started_) return;
  std::vector<VmRun*> unreachable;
  runs_to_reach_ = false;
  for (VmRun* run : table_->RunsOf(this)) {
    const RunSockets& sockets = SocketsOf(run);
    SocketSlot* const slot = sockets.home;
    if (!slot->present) ScheduleAll(claims_.Release(slot));
    const auto is_present = [](const SocketSlot* way) { return way->present; };
    if (run->tracked() || run->connected() ||
        std::any_of(sockets.ways.begin(), sockets.ways.end(), is_present)) {
      continue;
    }
    // The socket may be there, and its directory not be read yet: no descriptor was left.
    if (slot->spec >= 0 && slot->run == run && IsAt(*slot, *run)) {
      runs_to_reach_ = true;
    } else {
      unreachable.push_back(run);
    }
  }
  for (VmRun* run : unreachable) run->End();
}

// Reports of the table

void SocketConnector::OnPublished(VmRun* run) {
  // The run's status says more.
  for (SocketSlot* slot : SocketsOf(run).ways) ForgetProblem(slot);
}

bool SocketConnector::OwnsName(const VmRun* run) const {
  const SocketSlot& home = *SocketsOf(run).home;
  if (home.run != nullptr && home.run != run) return false;
  if (!run->away()) return true;
  // A later run may be there and not be known yet.
  SocketIdentity there;
  return IdentifySocket(home.path, &there) != 0 || IsSocketOf(*run, home, there);
}

void SocketConnector::OnOver(VmRun* run) {
  QmpRun* const own = Own(run);
  RunSockets& sockets = own->sockets();
  ForgetSocket(own);
  if (--runs_of_[sockets.owner] == 0) runs_of_.erase(sockets.owner);
  const RunInfo& info = run->info();
  if (run->published() && run->tracked() &&
      info.run_id != RunIdOf(*sockets.home, {.pid = info.pid, .start_ticks = info.start_ticks})) {
    NoteUsedId(std::string(info.run_id));
  }
  const bool needs_speaker = own->needs_speaker();
  SocketSlot* const home = sockets.home;
  spdlog::debug("{} has ended", absl::CHexEscape(home->path));
  --home->runs;
  // One that begins and ends again and again is tried ever more seldom.
  const bool lasted =
      run->tracked() ||
      context_->loop->Now().monotonic - run->attached_at().monotonic >= kSteadyMonitor;
  for (SocketSlot* slot : sockets.ways) slot->run = nullptr;
  for (SocketSlot* slot : sockets.ways) {
    // The file may stay, and be listened on once more.
    if (lasted) slot->backoff = absl::ZeroDuration();
    if (slot->present && !run->published() && slot != sockets.attached_by && !IsSilent(*slot)) {
      Schedule(slot, absl::ZeroDuration());  // it was taken for another way to the same process
    } else if (slot->present) {
      BackOff(slot, kFirstReconnect, needs_speaker ? kMaxRetry : kMaxRefusedRetry);
    }
    if (needs_speaker) ReportListenerGone(slot);
    if (slot != home) DropSlotIfUnused(slot);
  }
  DropSlotIfUnused(home);
}

}  // namespace vmeventd
