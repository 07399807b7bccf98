// The runs that a NodeWatcher follows.

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "watcher/core/names.h"
#include "watcher/qmp/node_watcher_impl.h"
#include "watcher/runs/shutdown_file.h"

namespace vmeventd {

VmRun* NodeWatcherImpl::FindOrMakeRun(SocketSlot* slot, const SocketFile& file, PeerProcess peer) {
  const bool tracked = peer.kind == PeerProcess::Kind::kTracked;
  if (VmRun* const known = FindRun(*slot, file.identity, peer); known != nullptr) {
    if (!tracked || known->followed()) return known;
    // Without a descriptor it is as before: its process is looked for again, or stays unknown.
    if (known->tracked()) {
      known->Track(std::move(peer)).IgnoreError();
    } else {
      known->TrackInstead(std::move(peer)).IgnoreError();
    }
    return known;
  }
  EndUntrackedRun(slot);
  if (!new_runs_.Admit(file.owner, loop_->Now().monotonic)) {
    BackOff(slot, kFirstHeldRetry, kMaxRetry);
    TellProblem(slot, kTooManyNewRuns);
    return nullptr;
  }
  const ProcessInfo process = tracked ? DescribeProcess(peer, oom_counters_) : ProcessInfo();
  RunInfo info;
  info.run_id = NewRunId(*slot, file.identity, peer);
  info.raw_name = RawVmName(*slot);
  info.name = EscapeName(info.raw_name);
  info.raw_path = slot->path;
  info.monitor_path = EscapeNonUtf8(slot->path);
  info.boot_id = boot_id_;
  info.pid_namespace = pid_namespace_;
  info.pid = process.pid;
  info.start_ticks = process.start_ticks;
  info.pidfd_inode = process.pidfd_inode;
  info.process_tracked = tracked;
  info.socket = file.identity;
  info.process_start = process.process_start;
  info.oom_file = process.oom_file;
  info.oom_kills = process.oom_kills;
  info.shutdown_file_mark = NewShutdownFileMark();
  spdlog::debug("following {}, {}", ForLog(slot->path),
                tracked ? absl::StrCat("pid ", peer.pid) : "its process is not tracked");

  auto run = std::make_unique<VmRun>(&context_, this,
                                     VmSession(std::move(info), &options_.session, loop_->Now()));
  if (tracked && !run->Track(std::move(peer)).ok()) {
    OnConnectError(slot, ENOSPC);
    return nullptr;
  }
  return AddRun(slot, file.owner, std::move(run));
}

VmRun* NodeWatcherImpl::FindRun(const SocketSlot& slot, const SocketIdentity& socket,
                                const PeerProcess& peer) {
  const bool tracked = peer.kind == PeerProcess::Kind::kTracked;
  if (const std::optional<ProcessKey> key = KeyOf(peer); tracked && key.has_value()) {
    const auto known = by_process_.find(*key);
    if (known != by_process_.end()) return known->second;
  }
  if (slot.run != nullptr) {
    // What one of the two does not know of the process, the socket tells.
    const bool both_followed = tracked && slot.run->tracked() && slot.run->followed();
    if (!both_followed && slot.run->info().socket == socket) return slot.run;
  }
  if (peer.start_ticks == 0) return nullptr;
  const auto it = runs_.find(NewRunId(slot, socket, peer));
  return it != runs_.end() ? it->second.run.get() : nullptr;
}

VmRun* NodeWatcherImpl::RunAttachedBy(const SocketIdentity& socket) const {
  const auto it = by_socket_.find(InodeKey(socket.device, socket.inode));
  if (it == by_socket_.end()) return nullptr;
  VmRun* const run = it->second;
  return run->connected() && run->info().socket == socket ? run : nullptr;
}

void NodeWatcherImpl::NoteSocket(VmRun* run, SocketSlot* slot, const SocketFile& file) {
  const SocketIdentity& last = run->info().socket;
  if (const auto it = by_socket_.find(InodeKey(last.device, last.inode));
      it != by_socket_.end() && it->second == run) {
    by_socket_.erase(it);
  }
  by_socket_[InodeKey(file.identity.device, file.identity.inode)] = run;
  FollowedRun& followed = Followed(run);
  followed.attached_by = slot;
  if (followed.owner == file.owner) return;
  // A restored run, whose owner was not known.
  CountRun(followed, -1);
  followed.owner = file.owner;
  CountRun(followed, 1);
}

void NodeWatcherImpl::CountRun(const FollowedRun& followed, int change) {
  owner_runs_[followed.owner] += change;
  if (owner_runs_[followed.owner] == 0) owner_runs_.erase(followed.owner);
  directory_runs_[followed.spec] += change;
}

void NodeWatcherImpl::SetRun(SocketSlot* slot, VmRun* run) {
  if (slot->run == run) return;
  if (slot->run != nullptr) {
    FollowedRun& before = Followed(slot->run);
    std::erase(before.ways, slot);
    if (before.attached_by == slot) before.attached_by = nullptr;
  }
  slot->run = run;
  if (run == nullptr) return;
  FollowedRun& followed = Followed(run);
  followed.ways.push_back(slot);
  if (run->published()) ForgetProblem(slot);
  // One of many: the oldest but the first is not used any more.
  if (followed.ways.size() > kMaxWays) {
    context_.meters.sockets_over_process_limit.Add();
    SetRun(followed.ways[1], nullptr);
  }
}

bool NodeWatcherImpl::HasShare(const SocketSlot& slot, uint32_t owner) const {
  const int max = options_.max_vm_descriptors;
  const int share = max - max / 4;
  const auto used = [](const auto& runs, auto key) {
    const auto it = runs.find(key);
    return it == runs.end() ? 0 : 2 * it->second;
  };
  if (used(owner_runs_, owner) + 2 > share) return false;
  return options_.watches.size() < 2 || used(directory_runs_, slot.spec) + 2 <= share;
}

bool NodeWatcherImpl::OnSpeaker(VmRun* run, int64_t pid) {
  absl::StatusOr<PeerProcess> speaker = IdentifyByPid(pid);
  if (!speaker.ok() || speaker->kind != PeerProcess::Kind::kTracked) return false;
  const std::optional<ProcessKey> key = KeyOf(*speaker);
  const auto known = key.has_value() ? by_process_.find(*key) : by_process_.end();
  if (run->published()) {
    // Its run id stands. A process that has a run already keeps that.
    if (known == by_process_.end()) run->TrackInstead(*std::move(speaker)).IgnoreError();
    return false;
  }
  SocketSlot* slot = Followed(run).attached_by;
  if (slot == nullptr) slot = Followed(run).slot;
  const SocketFile file{UniqueFd(), run->info().socket, Followed(run).owner};
  std::unique_ptr<MonitorConnection> connection = run->TakeConnection();
  ++slot->runs;  // it outlives the run that is discarded
  run->Discard();
  slot->backoff = absl::ZeroDuration();
  VmRun* const real = FindOrMakeRun(slot, file, *std::move(speaker));
  if (real != nullptr) SetRun(slot, real);
  --slot->runs;
  if (real == nullptr || real->connected()) {
    connection->Close();
    context_.closed_connections.push_back(std::move(connection));
    DropSlotIfUnused(slot);
    return true;
  }
  loop_->CancelTimer(&slot->retry);
  NoteSocket(real, slot, file);
  real->Adopt(std::move(connection), file.identity);
  return true;
}

VmRun::Listener NodeWatcherImpl::ConnectAgain(const VmRun* run, UniqueFd* connection,
                                              SocketIdentity* identity) {
  const FollowedRun& followed = Followed(run);
  std::vector<const SocketSlot*> slots(followed.ways.begin(), followed.ways.end());
  if (std::find(slots.begin(), slots.end(), followed.slot) == slots.end()) {
    slots.push_back(followed.slot);
  }
  bool unknown = false;
  for (const SocketSlot* slot : slots) {
    SocketFile file;
    int error = 0;
    context_.spares
        .Do([&] {
          error = OpenSocketFile(slot->path, &file);
          const InodeKey inode(file.identity.device, file.identity.inode);
          const bool same =
              file.identity == run->info().socket || (slot->run == run && slot->inode == inode);
          if (error == 0) error = same ? ConnectTo(file, connection) : ENOENT;
          return IsOutOfDescriptors(error) ? absl::ResourceExhaustedError("connect")
                                           : absl::OkStatus();
        })
        .IgnoreError();
    if (error == 0) {
      *identity = file.identity;
      return VmRun::Listener::kConnected;
    }
    // Any other error is an answer: nobody listens, or nobody can be asked.
    unknown = unknown || error == EAGAIN || IsOutOfDescriptors(error);
  }
  return unknown ? VmRun::Listener::kUnknown : VmRun::Listener::kNone;
}

void NodeWatcherImpl::OnFollowed(VmRun* run, const ProcessKey& key) {
  by_process_.try_emplace(key, run);
}

void NodeWatcherImpl::OnUnfollowed(VmRun* run, const ProcessKey& key) {
  const auto it = by_process_.find(key);
  if (it != by_process_.end() && it->second == run) by_process_.erase(it);
}

std::string NodeWatcherImpl::NewRunId(const SocketSlot& slot, const SocketIdentity& socket,
                                      const PeerProcess& peer) {
  RunIdentity identity{.boot_id = boot_id_, .monitor_path = slot.path};
  if (peer.start_ticks != 0) {
    identity.pid = peer.pid;
    identity.start_ticks = peer.start_ticks;
  } else {
    last_first_seen_ns_ = std::max(absl::ToUnixNanos(loop_->Now().wall), last_first_seen_ns_ + 1);
    identity.socket_inode = socket.inode;
    identity.first_seen_ns = last_first_seen_ns_;
  }
  return MakeRunId(identity);
}

VmRun* NodeWatcherImpl::AddRun(SocketSlot* slot, uint32_t owner, std::unique_ptr<VmRun> run) {
  VmRun* const added = run.get();
  FollowedRun& followed = runs_[added->info().run_id];
  followed.run = std::move(run);
  followed.slot = slot;
  followed.owner = owner;
  followed.spec = slot->spec;
  CountRun(followed, 1);
  runs_by_name_[added->info().name].push_back(added);
  if (const Intent* intent = added->open_intent(); intent != nullptr) {
    intents_[intent->intent_id] = added;
  }
  ++slot->runs;
  return added;
}

void NodeWatcherImpl::EndUntrackedRun(SocketSlot* slot) {
  VmRun* const run = slot->run;
  if (run != nullptr && !run->tracked() && !run->connected()) run->End();
}

FollowedRun& NodeWatcherImpl::Followed(const VmRun* run) {
  return runs_.find(run->info().run_id)->second;
}

void NodeWatcherImpl::OnPublish(VmRun* run, VmUpdate update) {
  if (update.event.has_value() && update.event->type == EventType::kMonitorLost) {
    context_.meters.monitors_lost.Add();
  }
  if (update.event.has_value() && update.event->type == EventType::kIntentDeclared) {
    intents_[update.event->intent->intent_id] = run;
  }
  if (update.event.has_value() && update.event->type == EventType::kIntentWithdrawn) {
    intents_.erase(update.event->intent->intent_id);
  }
  if (update.status.has_value()) {
    for (SocketSlot* slot : Followed(run).ways) ForgetProblem(slot);  // this status says more
  }
  sink_->Push(std::move(update));
}

void NodeWatcherImpl::OnMonitorReady(VmRun* run, const std::string& uuid) {
  FollowedRun& followed = Followed(run);
  const std::optional<Uuid> parsed = ParseUuid(uuid);
  if (parsed == followed.uuid) return;
  if (followed.uuid.has_value()) UpdateUuidProblems(uuids_.Remove(*followed.uuid, run));
  followed.uuid = parsed;
  if (parsed.has_value()) UpdateUuidProblems(uuids_.Add(*parsed, run));
  UpdateUuidProblems({run});
}

std::string NodeWatcherImpl::UuidProblem(const VmRun* run) const {
  const std::optional<Uuid>& uuid = runs_.find(run->info().run_id)->second.uuid;
  if (!uuid.has_value() || uuids_.UserCount(*uuid) < 2) return "";
  const VmRun* const other = uuids_.OtherUser(*uuid, run);
  if (other == nullptr) return "its UUID is used by several other running VMs as well";
  return absl::StrCat("its UUID is used by the running VM ", other->info().name, " (",
                      other->info().monitor_path, ") as well");
}

void NodeWatcherImpl::UpdateUuidProblems(const std::vector<VmRun*>& runs) {
  if (!scanned_) return;
  for (VmRun* run : runs) run->SetUuidProblem(UuidProblem(run));
}

void NodeWatcherImpl::OnMonitorEnded(VmRun* run, VmRun::MonitorEnd end,
                                     absl::Duration answered_for) {
  bool has_way = false;
  for (SocketSlot* slot : Followed(run).ways) {
    if (!slot->present) continue;
    has_way = true;
    switch (end) {
      case VmRun::MonitorEnd::kLost:
        if (answered_for >= kSteadyMonitor) slot->backoff = absl::ZeroDuration();
        BackOff(slot, kFirstReconnect, kMaxRetry);
        break;
      case VmRun::MonitorEnd::kHeld:
        BackOff(slot, kFirstHeldRetry, kMaxRetry);
        break;
      case VmRun::MonitorEnd::kProtocol:
        BackOff(slot, kMaxRetry, kMaxRetry);
        break;
    }
  }
  // No way leads back to its monitor. The process's end will be seen, if it is tracked.
  if (!has_way && !run->tracked()) run->End();
}

bool NodeWatcherImpl::OwnsName(const VmRun* run) const {
  const VmRun* const newest = runs_.find(run->info().run_id)->second.slot->run;
  return newest == nullptr || newest == run;
}

void NodeWatcherImpl::TellAllRuns() {
  for (auto& [run_id, followed] : runs_) {
    VmRun* const run = followed.run.get();
    if (run->published()) OnPublish(run, {run->Status(), std::nullopt, run->Save()});
  }
}

void NodeWatcherImpl::OnOomKill(VmRun* run, uint64_t kills) {
  for (const auto& [run_id, followed] : runs_) {
    VmRun* const other = followed.run.get();
    if (other != run && other->info().oom_file == run->info().oom_file) {
      other->DiscountOomKill(kills);
    }
  }
}

void NodeWatcherImpl::ForgetName(VmRun* run) {
  const auto it = runs_by_name_.find(run->info().name);
  std::vector<VmRun*> others = std::move(it->second);
  runs_by_name_.erase(it);  // its key was this run's
  others.erase(std::find(others.begin(), others.end(), run));
  if (!others.empty()) runs_by_name_[others.front()->info().name] = std::move(others);
}

void NodeWatcherImpl::OnOver(VmRun* run) {
  const auto it = runs_.find(run->info().run_id);
  FollowedRun followed = std::move(it->second);
  runs_.erase(it);
  if (const Intent* intent = run->open_intent(); intent != nullptr) {
    intents_.erase(intent->intent_id);
  }
  ForgetName(run);
  if (followed.uuid.has_value()) UpdateUuidProblems(uuids_.Remove(*followed.uuid, run));
  const InodeKey inode(run->info().socket.device, run->info().socket.inode);
  if (const auto by_socket = by_socket_.find(inode);
      by_socket != by_socket_.end() && by_socket->second == run) {
    by_socket_.erase(by_socket);
  }
  OnUnfollowed(run, {.pidfd_inode = run->info().pidfd_inode});
  CountRun(followed, -1);
  SocketSlot* const home = followed.slot;
  spdlog::debug("{} has ended", ForLog(home->path));
  --home->runs;
  // One that begins and ends again and again is tried ever more seldom.
  const bool lasted =
      run->tracked() || loop_->Now().monotonic - run->attached_at().monotonic >= kSteadyMonitor;
  for (SocketSlot* slot : followed.ways) slot->run = nullptr;
  for (SocketSlot* slot : followed.ways) {
    // The file may stay, and be listened on once more.
    if (lasted) slot->backoff = absl::ZeroDuration();
    if (slot->present && !run->published() && slot != followed.attached_by) {
      Schedule(slot, absl::ZeroDuration());  // it was taken for another way to the same process
    } else if (slot->present) {
      BackOff(slot, kFirstReconnect, run->needs_speaker() ? kMaxRetry : kMaxRefusedRetry);
    }
    if (run->needs_speaker() && slot->backoff >= std::min(options_.greeting_timeout, kMaxRetry)) {
      TellProblem(slot, kListenerGone);
    }
    if (slot != home) DropSlotIfUnused(slot);
  }
  ended_runs_.push_back(std::move(followed.run));
  DropSlotIfUnused(home);
}

}  // namespace vmeventd
