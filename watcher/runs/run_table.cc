#include "watcher/runs/run_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vmeventd {

VmRun* RunTable::Add(RunSource* source, std::unique_ptr<VmRun> run) {
  VmRun* const added = run.get();
  runs_.try_emplace(added->info().run_id, Entry{.run = std::move(run), .source = source});
  OnProcessChanged(added);
  if (!added->session().restored_unattached()) ApplyHostShutdown(added);
  return added;
}

void RunTable::SetHostShutdown(const HostShutdownState& state) {
  host_ = state;
  for (const auto& [run_id, entry] : runs_) ApplyHostShutdown(entry.run.get());
}

void RunTable::ApplyHostShutdown(VmRun* run) const {
  if (host_.has_value()) run->Feed(input::HostShutdown{host_->shutting_down, host_->by});
}

void RunTable::ApplyHostCancel(VmRun* run) const {
  if (host_.has_value() && !host_->shutting_down) ApplyHostShutdown(run);
}

VmRun* RunTable::Find(absl::string_view run_id) const {
  const auto it = runs_.find(run_id);
  return it != runs_.end() ? it->second.run.get() : nullptr;
}

VmRun* RunTable::FindByProcess(const PeerProcess& process) const {
  if (process.kind != PeerProcess::Kind::kTracked) return nullptr;
  const std::optional<ProcessKey> key = KeyOf(process);
  const auto it = key.has_value() ? by_process_.find(*key) : by_process_.end();
  return it != by_process_.end() ? it->second : nullptr;
}

void RunTable::OnProcessChanged(VmRun* run) {
  const RunInfo& info = run->info();
  std::optional<ProcessKey> key;
  if (info.pidfd_inode != 0) {
    key = ProcessKey{.pidfd_inode = info.pidfd_inode};
  } else if (info.process_tracked && info.pid != 0) {
    key = ProcessKey{.pid = info.pid, .start_ticks = info.start_ticks};
  }
  std::optional<ProcessKey>& indexed = runs_.at(info.run_id).process;
  if (key == indexed) return;
  if (indexed.has_value()) by_process_.erase(*indexed);
  indexed.reset();
  if (key.has_value() && by_process_.try_emplace(*key, run).second) indexed = key;
}

VmRun* RunTable::FindByIntent(const std::string& intent_id) const {
  for (const auto& [run_id, entry] : runs_) {
    const v1::Intent* const open = entry.run->session().open_intent();
    if (open != nullptr && open->intent_id() == intent_id) return entry.run.get();
  }
  return nullptr;
}

std::vector<VmRun*> RunTable::RunsOf(const RunSource* source) const {
  std::vector<VmRun*> runs;
  for (const auto& [run_id, entry] : runs_) {
    if (entry.source == source) runs.push_back(entry.run.get());
  }
  return runs;
}

std::vector<VmRun*> RunTable::Named(const std::string& name) const {
  std::vector<VmRun*> runs;
  for (const auto& [run_id, entry] : runs_) {
    if (entry.run->info().name == name) runs.push_back(entry.run.get());
  }
  return runs;
}

void RunTable::OnPublish(VmUpdate update) {
  if (update.event.has_value() && update.event->type() == EventType::kMonitorLost) {
    meters_->monitors_lost.Add();
  }
  if (update.event.has_value() && update.event->shutdown().has_last_seen_time()) {
    ++late_ends_.all;
    if (update.event->shutdown().shutdown_class() == v1::SHUTDOWN_CLASS_UNKNOWN) {
      ++late_ends_.unknown;
    }
  }
  sink_->Push(std::move(update));
}

bool RunTable::HasEnding() const {
  return std::any_of(runs_.begin(), runs_.end(),
                     [](const auto& each) { return each.second.run->ends(); });
}

void RunTable::PublishRest() {
  std::vector<VmRun*> runs;
  for (const auto& [run_id, entry] : runs_) runs.push_back(entry.run.get());
  for (VmRun* run : runs) {
    run->DropWords();  // which may end it
    run->Feed(input::DaemonStops{});
  }
}

OpenRuns RunTable::HandOver() {
  OpenRuns all;
  for (const auto& [run_id, entry] : runs_) {
    VmRun& run = *entry.run;
    if (std::optional<HandedRun> handed = run.HandOver()) all.runs.push_back(*std::move(handed));
    if (!run.published()) continue;
    std::string state = run.session().Save();
    if (!state.empty()) all.states.emplace_back(run_id, std::move(state));
  }
  return all;
}

void RunTable::OnOomKill(VmRun* run, uint64_t kills) {
  for (const auto& [run_id, entry] : runs_) {
    VmRun* const other = entry.run.get();
    if (other != run && other->info().oom_file == run->info().oom_file) {
      other->Feed(input::OomKills{std::min(other->info().oom_kills + 1, kills)});
    }
  }
}

void RunTable::OnOver(VmRun* run) {
  const auto it = runs_.find(run->info().run_id);
  Entry entry = std::move(it->second);
  runs_.erase(it);
  ended_.push_back(std::move(entry.run));
  if (entry.uuid.has_value()) ForgetUuid(*entry.uuid, run);
  if (entry.process.has_value()) by_process_.erase(*entry.process);
  entry.source->OnOver(run);
}

// UUIDs

std::vector<VmRun*> RunTable::WithUuid(const Uuid& uuid, size_t limit) const {
  std::vector<VmRun*> runs;
  const auto [begin, end] = by_uuid_.equal_range(uuid);
  for (auto it = begin; it != end && runs.size() < limit; ++it) runs.push_back(it->second);
  return runs;
}

void RunTable::SetUuid(VmRun* run, absl::string_view uuid) {
  const std::optional<Uuid> now = ParseUuid(uuid);
  const auto it = runs_.find(run->info().run_id);
  if (it == runs_.end()) return;
  const std::optional<Uuid> before = std::exchange(it->second.uuid, now);
  if (now == before) return;
  if (before.has_value()) ForgetUuid(*before, run);
  if (now.has_value()) {
    by_uuid_.emplace(*now, run);
    UpdateUuidProblems(*now);
  }
  if (reports_shared_uuids_) run->Feed(input::SharedUuid{UuidProblem(now, run)});
}

void RunTable::ForgetUuid(const Uuid& uuid, VmRun* run) {
  const auto [begin, end] = by_uuid_.equal_range(uuid);
  by_uuid_.erase(
      std::find_if(begin, end, [run](const auto& entry) { return entry.second == run; }));
  UpdateUuidProblems(uuid);
}

void RunTable::ReportSharedUuids() {
  reports_shared_uuids_ = true;
  for (const auto& [run_id, entry] : runs_) {
    entry.run->Feed(input::SharedUuid{UuidProblem(entry.uuid, entry.run.get())});
  }
}

void RunTable::UpdateUuidProblems(const Uuid& uuid) {
  if (!reports_shared_uuids_) return;
  // If there are more than three, all of them report already that they are several.
  const std::vector<VmRun*> users = WithUuid(uuid, 4);
  if (users.size() == 4) return;
  for (VmRun* user : users) user->Feed(input::SharedUuid{UuidProblem(uuid, user)});
}

std::string RunTable::UuidProblem(const std::optional<Uuid>& uuid, const VmRun* run) const {
  if (!uuid.has_value()) return "";
  const std::vector<VmRun*> users = WithUuid(*uuid, 3);
  if (users.size() < 2) return "";
  if (users.size() > 2) return "its UUID is used by several other running VMs as well";
  const RunInfo& other = users[users[0] == run ? 1 : 0]->info();
  return absl::StrCat("its UUID is used by the running VM ", other.name, " (",
                      other.monitor_path.empty() ? other.source : other.monitor_path, ") as well");
}

}  // namespace vmeventd
