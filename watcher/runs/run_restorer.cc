#include "watcher/runs/run_restorer.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "spdlog/spdlog.h"
#include "watcher/core/run_id.h"
#include "watcher/runs/vm_run.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

using HandedRuns = absl::flat_hash_map<std::string, HandedRun>;  // by run id

void Refuse(RunContext* context, absl::string_view why, absl::string_view text) {
  constexpr size_t kMaxTextForLog = 200;
  context->meters.unreadable_runs.Add();
  spdlog::error("dropping saved run, cannot restore: {}: {}", absl::CHexEscape(why),
                absl::CHexEscape(text.substr(0, kMaxTextForLog)));
}

// Closes a handed-over run that is not used.
void Close(RunContext* context, HandedRun handed) {
  context->meters.handovers_refused.Add();
  // Closed at once: QEMU serves one client, and its run may be connected to again.
  if (handed.connection.valid()) context->closer.Close(std::move(handed.connection));
}

// Restores the runs from the texts. Leaves in `*handed_runs` only those that continue one of them.
// Returns the ids of the restored runs, oldest first.
std::vector<std::string> ReadSavedRuns(RunContext* context, RunTable* table,
                                       const SourcesByKey& sources,
                                       const std::vector<std::string>& texts,
                                       HandedRuns* handed_runs) {
  std::vector<VmSession> sessions;
  sessions.reserve(texts.size());
  HandedRuns unknown = std::exchange(*handed_runs, {});
  for (const std::string& text : texts) {
    absl::StatusOr<VmSession> session =
        VmSession::Restore(text, &context->options->session, context->loop->Now());
    if (!session.ok()) {
      Refuse(context, session.status().message(), text);
      continue;
    }
    const RunInfo& run = session->run();
    if (!sources.contains(run.source_key)) {
      Refuse(context, absl::StrCat("no source is called \"", run.source_key, "\""), run.run_id);
      continue;
    }
    const auto handed = unknown.find(run.run_id);
    if (handed != unknown.end()) handed_runs->insert(unknown.extract(handed));
    sessions.push_back(*std::move(session));
  }
  std::ranges::stable_sort(sessions, {},
                           [](const VmSession& session) { return session.attached_at().wall; });
  std::vector<std::string> run_ids;
  for (VmSession& session : sessions) {
    const std::string run_id = session.run().run_id;
    if (table->Find(run_id) != nullptr) {
      Refuse(context, "the run was saved twice", run_id);
      continue;
    }
    run_ids.push_back(run_id);
    sources.at(session.run().source_key)->Restore(std::move(session));
  }
  for (auto& [run_id, handed] : unknown) Close(context, std::move(handed));
  return run_ids;
}

// Resumes `run` from its handed-over connection and process. Returns whether that was possible.
bool TryResume(RunContext* context, VmRun* run, HandedRuns* handed_runs) {
  const auto it = handed_runs->find(run->info().run_id);
  if (it == handed_runs->end()) return false;
  HandedRun handed = std::move(it->second);
  constexpr int kDescriptors = 2;  // one for its connection, one for its process
  const bool possible = run->info().pid_namespace == context->pid_namespace &&
                        (context->options->process_tracking || !run->tracked()) &&
                        context->vm_descriptors + kDescriptors <= context->max_vm_descriptors;
  if (possible && run->ResumeFrom(&handed)) {
    context->meters.handovers.Add();
    return true;
  }
  Close(context, std::move(handed));
  return false;
}

// Resumes `run`, which is in the table and has not ended.
void Resume(RunTable* table, VmRun* run) {
  table->SetUuid(run, run->session().uuid());
  const std::string run_id(run->info().run_id);
  run->Resume();
  // Input that QEMU sent since then is handled next. A shutdown of the host that was cancelled
  // meanwhile does not explain it.
  if (run->connected()) {
    table->ApplyHostCancel(run);
    run->ReadNow();
  }
  // The host's present state does not apply to earlier events, nor to a run that ended before.
  if (table->Find(run_id) == run && !run->process_ended()) table->ApplyHostShutdown(run);
}

// Finds the process of `run`, which was not handed over, or ends the run.
void FindAgain(RunContext* context, RunTable* table, VmRun* run) {
  const RunInfo& info = run->info();
  if (!info.process_tracked) return Resume(table, run);  // its socket decides
  const uint64_t here = context->pid_namespace;
  if (info.pid_namespace != 0 && here != 0 && info.pid_namespace != here) {
    run->LoseTracking();  // the number means another process here
    return Resume(table, run);
  }
  const std::string run_id(info.run_id);
  const bool found = run->FindProcess();
  if (table->Find(run_id) == nullptr) return;  // it has ended
  Resume(table, run);
  if (found) return;
  context->meters.out_of_descriptors.Add();
  run->ReportProblem({ProblemCode::kOutOfDescriptors, kOutOfDescriptorsProblem});
  run->FindProcessLater();
}

// Returns whether the run was of another boot of the host; false where one of the two boots is not
// known: then the process decides.
bool IsOfAnotherBoot(const RunContext& context, absl::string_view run_id) {
  return !context.boot_id.empty() && !absl::StartsWith(run_id, RunIdPrefix("")) &&
         !absl::StartsWith(run_id, RunIdPrefix(context.boot_id));
}

// Finds out whether `run` is still open. Returns whether it continues with its monitor connected.
bool Resolve(RunContext* context, RunTable* table, VmRun* run, HandedRuns* handed_runs) {
  if (IsOfAnotherBoot(*context, run->info().run_id)) {
    run->Feed(input::HostRebooted{});
  } else if (TryResume(context, run, handed_runs)) {
    const bool has_monitor = run->connected();
    Resume(table, run);
    return has_monitor;
  } else {
    FindAgain(context, table, run);
  }
  return false;
}

}  // namespace

bool RestoreRuns(RunContext* context, RunTable* table, const SourcesByKey& sources,
                 const std::vector<std::string>& saved_runs, std::vector<HandedRun> handed_runs) {
  HandedRuns by_id;
  for (HandedRun& handed : handed_runs) {
    std::string run_id = handed.state.run_id();
    const auto [it, is_new] = by_id.try_emplace(std::move(run_id), std::move(handed));
    if (!is_new) Close(context, std::move(handed));
  }
  const std::vector<std::string> run_ids =
      ReadSavedRuns(context, table, sources, saved_runs, &by_id);
  bool all_continue = run_ids.size() == saved_runs.size();
  for (const std::string& run_id : run_ids) {
    VmRun* const run = table->Find(run_id);
    if (run != nullptr && !Resolve(context, table, run, &by_id)) all_continue = false;
  }
  return all_continue;
}

}  // namespace vmeventd
