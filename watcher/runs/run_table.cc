#include "watcher/runs/run_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vmeventd {

std::vector<VmRun*> UuidIndex::Add(const Uuid& uuid, VmRun* run) {
  const auto shared = shared_.find(uuid);
  if (shared == shared_.end()) {
    const auto [single, added] = single_.try_emplace(uuid, run);
    if (added || single->second == run) return {};
    VmRun* const other = single->second;
    shared_[uuid] = {other, run};
    single_.erase(single);
    return {other};
  }
  Users& users = shared->second;
  if (!users.insert(run).second) return {};
  if (users.size() > 3) return {};
  // From two to three: the two had named each other.
  std::vector<VmRun*> changed(users.begin(), users.end());
  std::erase(changed, run);
  return changed;
}

std::vector<VmRun*> UuidIndex::Remove(const Uuid& uuid, VmRun* run) {
  const auto shared = shared_.find(uuid);
  if (shared == shared_.end()) {
    const auto single = single_.find(uuid);
    if (single != single_.end() && single->second == run) single_.erase(single);
    return {};
  }
  Users& users = shared->second;
  if (users.erase(run) == 0 || users.size() > 2) return {};
  std::vector<VmRun*> changed(users.begin(), users.end());
  if (users.size() == 1) {
    single_[uuid] = *users.begin();
    shared_.erase(shared);
  }
  return changed;
}

size_t UuidIndex::UserCount(const Uuid& uuid) const {
  const auto shared = shared_.find(uuid);
  return shared != shared_.end() ? shared->second.size() : single_.count(uuid);
}

std::vector<VmRun*> UuidIndex::UsersOf(const Uuid& uuid) const {
  const auto shared = shared_.find(uuid);
  if (shared != shared_.end()) return {shared->second.begin(), shared->second.end()};
  const auto single = single_.find(uuid);
  return single == single_.end() ? std::vector<VmRun*>() : std::vector<VmRun*>{single->second};
}

VmRun* UuidIndex::OtherUser(const Uuid& uuid, const VmRun* run) const {
  const auto shared = shared_.find(uuid);
  if (shared == shared_.end() || shared->second.size() != 2) return nullptr;
  for (VmRun* user : shared->second) {
    if (user != run) return user;
  }
  return nullptr;
}

VmRun* RunTable::Add(RunSource* source, std::unique_ptr<VmRun> run) {
  VmRun* const added = run.get();
  added->source_ = source;
  runs_.insert(std::move(run));
  by_name_[added->info().name].push_back(added);
  if (const Intent* intent = added->open_intent(); intent != nullptr) {
    intents_[intent->intent_id] = added;
  }
  if (!added->away()) ApplyHostShutdown(added);
  return added;
}

void RunTable::SetHostShutdown(const HostShutdownState& state) {
  host_ = state;
  for (const auto& run : runs_) ApplyHostShutdown(run.get());
}

void RunTable::ApplyHostShutdown(VmRun* run) const {
  if (host_.has_value()) run->NoteHostShutdown(host_->shutting_down, host_->by);
}

void RunTable::ApplyHostCancel(VmRun* run) const {
  if (host_.has_value() && !host_->shutting_down) ApplyHostShutdown(run);
}

VmRun* RunTable::Find(absl::string_view run_id) const {
  const auto it = runs_.find(run_id);
  return it != runs_.end() ? it->get() : nullptr;
}

VmRun* RunTable::FindByProcess(const PeerProcess& process) const {
  if (process.kind != PeerProcess::Kind::kTracked) return nullptr;
  const std::optional<ProcessKey> key = KeyOf(process);
  if (!key.has_value()) return nullptr;
  if (VmRun* const run = FindByProcess(*key); run != nullptr) return run;
  const auto it = awaited_.find({.pid = process.pid, .start_ticks = process.start_ticks});
  if (it == awaited_.end()) return nullptr;
  VmRun* const run = Find(it->second);
  return run != nullptr && run->info().pid == process.pid &&
                 run->info().start_ticks == process.start_ticks
             ? run
             : nullptr;
}

void RunTable::AwaitProcess(const VmRun* run) {
  const RunInfo& info = run->info();
  awaited_[{.pid = info.pid, .start_ticks = info.start_ticks}] = std::string(info.run_id);
}

VmRun* RunTable::FindByProcess(const ProcessKey& key) const {
  const auto it = by_process_.find(key);
  return it != by_process_.end() ? it->second : nullptr;
}

VmRun* RunTable::FindByIntent(const std::string& intent_id) const {
  const auto it = intents_.find(intent_id);
  return it != intents_.end() ? it->second : nullptr;
}

std::vector<VmRun*> RunTable::RunsOf(const RunSource* source) const {
  std::vector<VmRun*> runs;
  for (const auto& run : runs_) {
    if (SourceOf(run.get()) == source) runs.push_back(run.get());
  }
  return runs;
}

std::vector<VmRun*> RunTable::Named(const std::string& name) const {
  const auto it = by_name_.find(name);
  if (it == by_name_.end()) return {};
  return {it->second.begin(), it->second.end()};
}

void RunTable::OnPublish(VmRun* run, VmUpdate update) {
  if (update.event.has_value()) {
    if (update.event->type == EventType::kMonitorLost) meters_->monitors_lost.Add();
    if (update.event->type == EventType::kIntentDeclared) {
      intents_[update.event->intent->intent_id] = run;
    }
    if (update.event->type == EventType::kIntentWithdrawn) {
      intents_.erase(update.event->intent->intent_id);
    }
  }
  if (update.status.has_value()) SourceOf(run)->OnPublished(run);
  sink_->Push(std::move(update));
}

void RunTable::PublishAll() {
  for (const auto& run : runs_) {
    if (run->published()) OnPublish(run.get(), {run->Status(), std::nullopt, run->Save()});
  }
}

void RunTable::OnFollowed(VmRun* run, const ProcessKey& key) { by_process_.try_emplace(key, run); }

void RunTable::OnUnfollowed(VmRun* run, const ProcessKey& key) {
  const auto it = by_process_.find(key);
  if (it != by_process_.end() && it->second == run) by_process_.erase(it);
}

bool RunTable::OwnsName(const VmRun* run) const { return SourceOf(run)->OwnsName(run); }

void RunTable::OnOomKill(VmRun* run, uint64_t kills) {
  for (const auto& other : runs_) {
    if (other.get() != run && other->info().oom_file == run->info().oom_file.str()) {
      other->DiscountOomKill(kills);
    }
  }
}

void RunTable::ForgetName(VmRun* run) {
  const auto it = by_name_.find(run->info().name);
  SameName others = std::move(it->second);
  by_name_.erase(it);  // its key was this run's
  others.erase(std::find(others.begin(), others.end(), run));
  if (!others.empty()) by_name_[others.front()->info().name] = std::move(others);
}

void RunTable::OnOver(VmRun* run) {
  ended_.push_back(std::move(runs_.extract(run->info().run_id.str()).value()));
  if (const Intent* intent = run->open_intent(); intent != nullptr) {
    intents_.erase(intent->intent_id);
  }
  ForgetName(run);
  if (run->indexed_uuid_.has_value()) UpdateUuidProblems(uuids_.Remove(*run->indexed_uuid_, run));
  OnUnfollowed(run, {.pidfd_inode = run->info().pidfd_inode});
  run->source_->OnOver(run);
}

// UUIDs

void RunTable::SetUuid(VmRun* run, absl::string_view uuid) {
  const std::optional<Uuid> parsed = ParseUuid(uuid);
  if (parsed == run->indexed_uuid_) return;
  std::vector<VmRun*> changed;
  const auto add = [&changed](const std::vector<VmRun*>& runs) {
    changed.insert(changed.end(), runs.begin(), runs.end());
  };
  if (run->indexed_uuid_.has_value()) add(uuids_.Remove(*run->indexed_uuid_, run));
  if (parsed.has_value()) add(uuids_.Add(*parsed, run));
  run->indexed_uuid_ = parsed;
  changed.push_back(run);
  UpdateUuidProblems(changed);
}

void RunTable::ReportSharedUuids() {
  reports_shared_uuids_ = true;
  for (const auto& run : runs_) UpdateUuidProblems({run.get()});
}

std::string RunTable::UuidProblem(const VmRun* run) const {
  const std::optional<Uuid>& uuid = run->indexed_uuid_;
  if (!uuid.has_value() || uuids_.UserCount(*uuid) < 2) return "";
  const VmRun* const other = uuids_.OtherUser(*uuid, run);
  if (other == nullptr) return "its UUID is used by several other running VMs as well";
  return absl::StrCat("its UUID is used by the running VM ", other->info().name.str(), " (",
                      other->info().monitor_path.empty() ? other->info().source.str()
                                                         : other->info().monitor_path.str(),
                      ") as well");
}

void RunTable::UpdateUuidProblems(const std::vector<VmRun*>& runs) {
  if (!reports_shared_uuids_) return;
  for (VmRun* run : runs) run->SetUuidProblem(UuidProblem(run));
}

}  // namespace vmeventd
