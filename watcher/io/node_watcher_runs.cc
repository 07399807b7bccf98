// The runs that a NodeWatcher follows.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "watcher/core/names.h"
#include "watcher/io/node_watcher_impl.h"

namespace vmeventd {

VmRun* NodeWatcherImpl::FindOrMakeRun(SocketSlot* slot, const SocketIdentity& socket,
                                      PeerProcess peer) {
  const bool tracked = peer.kind == PeerProcess::Kind::kTracked;
  if (VmRun* const known = FindRun(*slot, socket, peer); known != nullptr) {
    if (tracked && known->tracked() && !known->followed()) {
      known->Track(std::move(peer.pidfd)).IgnoreError();  // its process is looked for again
    }
    return known;
  }
  EndUntrackedRun(slot);
  RunInfo info;
  info.run_id = NewRunId(*slot, socket, peer);
  info.raw_name = RawVmName(*slot);
  info.name = EscapeName(info.raw_name);
  info.raw_path = slot->path;
  info.monitor_path = EscapeNonUtf8(slot->path);
  info.boot_id = boot_id_;
  info.pid_namespace = pid_namespace_;
  info.pid = tracked ? peer.pid : 0;
  info.start_ticks = peer.start_ticks;
  info.process_tracked = tracked;
  info.socket = socket;
  if (peer.start_ticks != 0) info.process_start = ProcessStartTime(peer.start_ticks);
  if (tracked) {
    const std::optional<OomCounters::Count> ooms = oom_counters_.Find(peer.pid);
    // A path that is not UTF-8 cannot be kept.
    if (ooms.has_value() && EscapeNonUtf8(ooms->file) == ooms->file) {
      info.oom_file = ooms->file;
      info.oom_kills = ooms->kills;
    }
  }
  spdlog::debug("following {}, {}", ForLog(slot->path),
                tracked ? absl::StrCat("pid ", peer.pid) : "its process is not tracked");

  auto run = std::make_unique<VmRun>(&context_, this,
                                     VmSession(std::move(info), &options_.session, loop_->Now()));
  if (tracked && !run->Track(std::move(peer.pidfd)).ok()) return nullptr;
  return AddRun(slot, std::move(run));
}

VmRun* NodeWatcherImpl::FindRun(const SocketSlot& slot, const SocketIdentity& socket,
                                const PeerProcess& peer) {
  const bool tracked = peer.kind == PeerProcess::Kind::kTracked;
  if (slot.run != nullptr) {
    // What one of the two does not know of the process, the socket tells.
    const bool both_tracked = tracked && slot.run->tracked();
    if (!both_tracked && slot.run->info().socket == socket) return slot.run;
    if (both_tracked && peer.start_ticks == 0 && slot.run->info().pid == peer.pid) return slot.run;
  }
  if (peer.start_ticks == 0) return nullptr;
  const auto it = runs_.find(NewRunId(slot, socket, peer));
  return it != runs_.end() ? it->second.run.get() : nullptr;
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

VmRun* NodeWatcherImpl::AddRun(SocketSlot* slot, std::unique_ptr<VmRun> run) {
  VmRun* const added = run.get();
  runs_[added->info().run_id] = {std::move(run), slot, std::nullopt};
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
    SocketSlot* const slot = Followed(run).slot;
    if (slot->run == run) slot->problem.clear();  // this status takes its place
    const std::string problem = UuidProblem(run);
    if (!problem.empty() && update.status->state != VmState::kStopped) {
      update.status->problems.push_back(problem);
    }
  }
  sink_->Push(std::move(update));
}

void NodeWatcherImpl::OnMonitorReady(VmRun* run, const std::string& uuid) {
  FollowedRun& followed = Followed(run);
  const std::optional<Uuid> parsed = ParseUuid(uuid);
  if (parsed == followed.uuid) return;
  if (followed.uuid.has_value()) Republish(uuids_.Remove(*followed.uuid, run));
  followed.uuid = parsed;
  if (parsed.has_value()) Republish(uuids_.Add(*parsed, run));
}

std::string NodeWatcherImpl::UuidProblem(const VmRun* run) const {
  const std::optional<Uuid>& uuid = runs_.find(run->info().run_id)->second.uuid;
  if (!uuid.has_value() || uuids_.UserCount(*uuid) < 2) return "";
  const VmRun* const other = uuids_.OtherUser(*uuid, run);
  if (other == nullptr) return "its UUID is used by several other running VMs as well";
  return absl::StrCat("its UUID is used by the running VM ", other->info().name, " (",
                      other->info().monitor_path, ") as well");
}

void NodeWatcherImpl::Republish(const std::vector<VmRun*>& runs) {
  for (VmRun* run : runs) {
    if (run->published()) OnPublish(run, {run->Status(), std::nullopt, false});
  }
}

void NodeWatcherImpl::OnMonitorEnded(VmRun* run, VmRun::MonitorEnd end,
                                     absl::Duration answered_for) {
  SocketSlot* const slot = Followed(run).slot;
  if (slot->run != run || !slot->present) {
    // No way leads back to its monitor. The process's end will be seen, if it is tracked.
    if (!run->tracked()) run->End();
    return;
  }
  switch (end) {
    case VmRun::MonitorEnd::kLost:
      if (answered_for >= kSteadyMonitor) slot->backoff = absl::ZeroDuration();
      return BackOff(slot, kFirstReconnect, kMaxRetry);
    case VmRun::MonitorEnd::kHeld:
      return BackOff(slot, kFirstHeldRetry, kMaxRetry);
    case VmRun::MonitorEnd::kProtocol:
      return BackOff(slot, kMaxRetry, kMaxRetry);
  }
}

bool NodeWatcherImpl::OwnsName(const VmRun* run) const {
  const VmRun* const newest = runs_.find(run->info().run_id)->second.slot->run;
  return newest == nullptr || newest == run;
}

void NodeWatcherImpl::TellAllRuns() {
  for (auto& [run_id, followed] : runs_) {
    VmRun* const run = followed.run.get();
    if (run->published()) OnPublish(run, {run->Status(), std::nullopt, false, run->Save()});
  }
}

void NodeWatcherImpl::OnOomKill(VmRun* run) {
  for (const auto& [run_id, followed] : runs_) {
    VmRun* const other = followed.run.get();
    if (other != run && other->info().oom_file == run->info().oom_file) other->DiscountOomKill();
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
  if (followed.uuid.has_value()) Republish(uuids_.Remove(*followed.uuid, run));
  SocketSlot* const slot = followed.slot;
  spdlog::debug("{} has ended", ForLog(slot->path));
  --slot->runs;
  if (slot->run == run) {
    slot->run = nullptr;
    // The file may stay, and be listened on once more.
    slot->backoff = absl::ZeroDuration();
    if (slot->present) BackOff(slot, kFirstReconnect, kMaxRefusedRetry);
  }
  context_.graveyard.push_back(std::move(followed.run));
  DropSlotIfUnused(slot);
}

}  // namespace vmeventd
