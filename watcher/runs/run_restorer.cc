#include "watcher/runs/run_restorer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "spdlog/spdlog.h"
#include "watcher/core/names.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kFindRetry = absl::Seconds(1);

}  // namespace

RunRestorer::RunRestorer(RunContext* context, const SessionOptions* session_options,
                         RunTable* table, std::vector<RunSource*> sources,
                         std::vector<std::string> saved_runs, std::vector<HandedRun> handed_runs)
    : context_(context),
      session_options_(session_options),
      table_(table),
      sources_(std::move(sources)),
      saved_runs_(std::move(saved_runs)) {
  for (HandedRun& handed : handed_runs) {
    std::string run_id = handed.state.run_id();
    const auto [it, is_new] = handed_runs_.try_emplace(std::move(run_id), std::move(handed));
    if (!is_new) Close(std::move(handed));
  }
}

RunRestorer::~RunRestorer() { context_->loop->CancelTimer(&retry_); }

void RunRestorer::Restore() {
  for (const std::string& run_id : ReadSavedRuns()) {
    VmRun* const run = table_->Find(run_id);
    if (run != nullptr) ResolveRestored(run);
  }
}

std::vector<std::string> RunRestorer::ReadSavedRuns() {
  std::vector<std::string> run_ids;
  std::vector<VmSession> sessions;
  sessions.reserve(saved_runs_.size());
  absl::flat_hash_map<std::string, HandedRun> handed_runs = std::exchange(handed_runs_, {});
  for (const std::string& text : std::exchange(saved_runs_, {})) {
    absl::StatusOr<VmSession> session =
        VmSession::Restore(text, session_options_, context_->loop->Now());
    if (session.ok()) {
      // A run that was handed over continues this very text.
      const auto handed = handed_runs.find(session->run().run_id);
      if (handed != handed_runs.end() && handed->second.state.saved() == StableHash(text)) {
        handed_runs_.insert(handed_runs.extract(handed));
      }
      sessions.push_back(*std::move(session));
    } else {
      Refuse(session.status().message(), text);
    }
  }
  std::vector<VmSession*> by_age;
  by_age.reserve(sessions.size());
  for (VmSession& session : sessions) by_age.push_back(&session);
  std::stable_sort(by_age.begin(), by_age.end(), [](const VmSession* a, const VmSession* b) {
    return a->attached_at().wall < b->attached_at().wall;
  });
  for (VmSession* session : by_age) {
    const std::string run_id(session->run().run_id);
    if (table_->Find(run_id) != nullptr) {
      Refuse("the run was saved twice", run_id);
      continue;
    }
    run_ids.push_back(run_id);
    for (RunSource* source : sources_) {
      if (source->Restore(session) != nullptr) break;
    }
  }
  for (auto& [run_id, handed] : handed_runs) Close(std::move(handed));
  return run_ids;
}

void RunRestorer::Close(HandedRun handed) {
  context_->meters.handovers_refused.Add();
  // At once: QEMU serves one client, and its run may be connected to again.
  if (handed.connection.valid()) context_->closer.Close(std::move(handed.connection));
}

bool RunRestorer::GoesOn(VmRun* run) {
  const auto it = handed_runs_.find(run->info().run_id);
  if (it == handed_runs_.end()) return false;
  HandedRun handed = std::move(it->second);
  handed_runs_.erase(it);
  constexpr int kDescriptors = 2;  // of its connection and its process
  const bool possible = run->info().pid_namespace == context_->pid_namespace &&
                        (context_->options->process_tracking || !run->tracked()) &&
                        context_->vm_descriptors + kDescriptors <= context_->max_vm_descriptors;
  if (possible && run->GoOn(&handed)) {
    context_->meters.handovers.Add();
    return true;
  }
  Close(std::move(handed));
  return false;
}

void RunRestorer::Refuse(absl::string_view why, absl::string_view text) {
  constexpr size_t kMaxTextForLog = 200;
  context_->meters.unreadable_runs.Add();
  spdlog::error("dropping saved run, cannot restore: {}: {}", absl::CHexEscape(why),
                absl::CHexEscape(text.substr(0, kMaxTextForLog)));
}

void RunRestorer::ResolveRestored(VmRun* run) {
  const RunInfo& info = run->info();
  if (info.boot_id != context_->boot_id) return run->Hand(input::HostRebooted{});
  if (GoesOn(run)) return Resume(run);
  if (!info.process_tracked) return Resume(run);  // its socket decides
  const uint64_t here = context_->pid_namespace;
  if (info.pid_namespace != 0 && here != 0 && info.pid_namespace != here) {
    run->LoseTracking();  // the number means another process here
    return Resume(run);
  }
  const std::string run_id(info.run_id);
  if (FindProcess(run)) {
    if (table_->Find(run_id) != nullptr) Resume(run);
    return;
  }
  context_->meters.out_of_descriptors.Add();
  Resume(run);
  run->ReportProblem({ProblemCode::kOutOfDescriptors, kOutOfDescriptorsProblem});
  without_process_.push_back(run_id);
  FindProcessesLater();
}

bool RunRestorer::FindProcess(VmRun* run) {
  absl::StatusOr<PeerProcess> found = IdentifyAgain(run->info().pid, run->info().start_ticks);
  if (!found.ok()) return false;
  switch (found->kind) {
    case PeerProcess::Kind::kTracked:
      if (context_->vm_descriptors >= context_->max_vm_descriptors) return false;
      if (!run->TrackAgain(*std::move(found)).ok()) return false;
      return true;
    case PeerProcess::Kind::kUntracked:
      run->LoseTracking();
      return true;
    case PeerProcess::Kind::kGone:
      if (found->pidfd.valid() && found->start_ticks != 0 &&
          found->start_ticks == run->info().start_ticks) {
        run->EndWithZombie(*found);
      } else {
        run->End();
      }
      return true;
  }
  return true;
}

void RunRestorer::FindProcessesLater() {
  if (retry_.serial != 0) return;
  context_->loop->SetTimerIn(&retry_, kFindRetry, [this] { FindProcesses(); });
}

void RunRestorer::FindProcesses() {
  for (const std::string& run_id : std::exchange(without_process_, {})) {
    VmRun* const run = table_->Find(run_id);
    // A new connection may have brought its process in the meantime.
    if (run == nullptr || !run->tracked() || run->followed()) continue;
    if (!FindProcess(run)) {
      without_process_.push_back(run_id);
    } else if (table_->Find(run_id) != nullptr && !run->connected()) {
      run->ReportProblem({});
    }
  }
  if (!without_process_.empty()) FindProcessesLater();
}

void RunRestorer::Resume(VmRun* run) {
  table_->SetUuid(run, run->Status().ref.uuid);
  const std::string run_id(run->info().run_id);
  run->Resume();
  // Its words since then are handled next, and obeyed no shutdown that was cancelled meanwhile.
  if (run->connected()) {
    table_->ApplyHostCancel(run);
    run->ReadNow();
  }
  // The host's present word says nothing of what was said before, nor of a run that ended before.
  if (table_->Find(run_id) == run && !run->process_ended()) table_->ApplyHostShutdown(run);
}

}  // namespace vmeventd
