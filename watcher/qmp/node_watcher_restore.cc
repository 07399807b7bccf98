// The runs that the daemon before this one left open: each goes on, or ends.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "watcher/qmp/node_watcher_impl.h"
#include "watcher/runs/shutdown_file.h"

namespace vmeventd {
namespace {

constexpr size_t kRunsATurn = 500;

// Of a run until it is attached.
constexpr uint32_t kUnknownOwner = ~0U;

}  // namespace

bool NodeWatcherImpl::RestoreSome() {
  if (!saved_runs_.empty()) ReadSavedRuns();
  const size_t end = std::min(settled_ + kRunsATurn, unsettled_.size());
  for (; settled_ < end; ++settled_) {
    const auto it = runs_.find(unsettled_[settled_]);
    if (it != runs_.end()) Settle(it->second.run.get());
  }
  if (settled_ < unsettled_.size()) return false;
  unsettled_ = {};
  settled_ = 0;
  return true;
}

void NodeWatcherImpl::ReadSavedRuns() {
  std::vector<std::unique_ptr<VmSession>> sessions;
  for (const std::string& text : std::exchange(saved_runs_, {})) {
    absl::StatusOr<std::unique_ptr<VmSession>> session =
        VmSession::Restore(text, &options_.session, loop_->Now());
    if (session.ok()) {
      sessions.push_back(*std::move(session));
    } else {
      RefuseSavedRun(session.status().message(), text);
    }
  }
  std::stable_sort(sessions.begin(), sessions.end(), [](const auto& a, const auto& b) {
    return a->attached_at().wall < b->attached_at().wall;
  });
  for (const std::unique_ptr<VmSession>& session : sessions) {
    const RunInfo& info = session->run();
    if (runs_.contains(info.run_id)) {
      RefuseSavedRun("a run that was kept twice", info.run_id);
      continue;
    }
    unsettled_.push_back(info.run_id);
    SocketSlot* const slot = SlotAt(info.raw_path);
    slot->spec = SpecOf(slot->path);
    SetRun(slot, AddRun(slot, kUnknownOwner,
                        std::make_unique<VmRun>(&context_, this, std::move(*session))));
  }
}

void NodeWatcherImpl::RefuseSavedRun(absl::string_view why, absl::string_view text) {
  constexpr size_t kMaxTextForLog = 200;
  context_.meters.unreadable_runs.Add();
  spdlog::error("a run of the daemon before this one is given up: {}: {}", ForLog(why),
                ForLog(text.substr(0, kMaxTextForLog)));
}

void NodeWatcherImpl::Settle(VmRun* run) {
  const RunInfo& info = run->info();
  if (boot_id_.empty() || info.boot_id != boot_id_) return run->EndWithHost();
  // Of this very run: a file of another one, renamed or not, has another mark.
  const std::optional<absl::Time> written =
      OwnShutdownFileTime(run->Directory(), info.raw_name, info.shutdown_file_mark);
  if (written.has_value()) run->NoteShutdownFile(*written);
  // Its process is known again by that even where it has no number here.
  if (info.pidfd_inode != 0) OnFollowed(run, {.pidfd_inode = info.pidfd_inode});
  if (!info.process_tracked) return Resume(run);  // its socket decides
  if (info.pid_namespace != 0 && pid_namespace_ != 0 && info.pid_namespace != pid_namespace_) {
    run->LoseTracking();  // the number means another process here
    return Resume(run);
  }
  const std::string run_id = info.run_id;
  if (FindProcess(run)) {
    if (const auto it = runs_.find(run_id); it != runs_.end()) Resume(run);
    return;
  }
  context_.meters.out_of_descriptors.Add();
  Resume(run);
  run->ReportProblem(kOutOfDescriptors);
  without_process_.push_back(run_id);
  FindProcessesLater();
}

bool NodeWatcherImpl::FindProcess(VmRun* run) {
  absl::StatusOr<PeerProcess> found = IdentifyAgain(run->info().pid, run->info().start_ticks);
  if (!found.ok()) return false;
  switch (found->kind) {
    case PeerProcess::Kind::kTracked:
      if (context_.vm_descriptors >= options_.max_vm_descriptors) return false;
      return run->TrackAgain(*std::move(found)).ok();
    case PeerProcess::Kind::kUntracked:
      run->LoseTracking();
      return true;
    case PeerProcess::Kind::kGone: {
      UniqueFd unused;
      SocketIdentity there;
      if (ConnectAgain(run, &unused, &there) != VmRun::Listener::kNone) {
        run->LoseListener();
        return true;
      }
      if (found->pidfd.valid() && found->start_ticks != 0 &&
          found->start_ticks == run->info().start_ticks) {
        run->EndWithZombie(*found);
      } else {
        run->End();
      }
      return true;
    }
  }
  return true;
}

void NodeWatcherImpl::FindProcessesLater() {
  if (find_process_timer_.serial != 0) return;
  find_process_backoff_ = std::min(std::max(find_process_backoff_ * 2, kFirstRetry), kMaxRetry);
  find_process_timer_ =
      loop_->AddTimer(loop_->Now().monotonic + find_process_backoff_, [this] { FindProcesses(); });
}

void NodeWatcherImpl::FindProcesses() {
  find_process_timer_ = {};
  for (const std::string& run_id : std::exchange(without_process_, {})) {
    const auto it = runs_.find(run_id);
    VmRun* const run = it != runs_.end() ? it->second.run.get() : nullptr;
    // A new connection may have brought its process in the meantime.
    if (run == nullptr || !run->tracked() || run->followed()) continue;
    if (!FindProcess(run)) {
      without_process_.push_back(run_id);
    } else if (runs_.contains(run_id) && !run->connected()) {
      run->ReportProblem("");
    }
  }
  if (!without_process_.empty()) FindProcessesLater();
  if (scanned_) EndUnreachableRuns();
}

void NodeWatcherImpl::Resume(VmRun* run) {
  OnMonitorReady(run, run->Status().ref.uuid);
  run->Resume();
  // The path by which it was followed has the first claim on its socket.
  SocketSlot* const slot = Followed(run).slot;
  SocketIdentity there;
  if (slot->run == run && slot->spec >= 0 && LookAtSocketFile(slot->path, &there) == 0 &&
      there == run->info().socket) {
    ClaimInode(slot, there);
  }
}

void NodeWatcherImpl::EndUnreachableRuns() {
  std::vector<VmRun*> unreachable;
  runs_to_reach_ = false;
  for (const auto& [run_id, followed] : runs_) {
    SocketSlot* const slot = followed.slot;
    VmRun* const run = followed.run.get();
    if (!slot->present) ScheduleAll(claims_.Release(slot));
    const auto is_present = [](const SocketSlot* way) { return way->present; };
    if (run->tracked() || run->connected() ||
        std::any_of(followed.ways.begin(), followed.ways.end(), is_present)) {
      continue;
    }
    // The socket may be there, and its directory not be read yet for want of descriptors.
    SocketIdentity there;
    if (slot->spec >= 0 && slot->run == run && LookAtSocketFile(slot->path, &there) == 0 &&
        there == run->info().socket) {
      runs_to_reach_ = true;
    } else {
      unreachable.push_back(run);
    }
  }
  for (VmRun* run : unreachable) run->End();
}

}  // namespace vmeventd
