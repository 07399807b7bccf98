#include "watcher/qmp/qmp_source.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/watch_spec.h"
#include "watcher/qmp/connect_rules.h"
#include "watcher/qmp/retry_pauses.h"
#include "watcher/runs/describe_process.h"
#include "watcher/runs/peer_process.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/vm_run.h"

namespace vmeventd {
namespace {

// Owner of a run whose socket is gone.
constexpr uint32_t kUnknownOwner = ~0U;

}  // namespace

std::string QmpSourceName(absl::string_view monitor_path) {
  const size_t slash = monitor_path.rfind('/');
  if (slash == absl::string_view::npos) return "qmp:";
  return absl::StrCat("qmp:", monitor_path.substr(0, std::max(slash, size_t{1})));
}

QmpSource::QmpSource(RunContext* context, RunTable* table)
    : context_(context),
      table_(table),
      watches_(context->options->sources.watches),
      path_check_(context, table, this, &unfollowed_),
      attempts_(context, watches_.size(), this) {}

SourceKind QmpSource::Kind() {
  return {.key = kKey,
          .health_service = kHealthService,
          .load_library = nullptr,
          .make = [](RunContext* context, RunTable* table, EventSink*) {
            return Create(context, table);
          }};
}

absl::StatusOr<std::unique_ptr<QmpSource>> QmpSource::Create(RunContext* context, RunTable* table) {
  std::unique_ptr<QmpSource> source(new QmpSource(context, table));
  std::vector<DirectoryThread*> threads;
  for (size_t spec = 0; spec < source->watches_.size(); ++spec) {
    threads.push_back(source->ThreadOf(static_cast<int>(spec)));
  }
  absl::StatusOr<std::unique_ptr<DirectoryWatcher>> directories = DirectoryWatcher::Create(
      context->loop, context->options->sources.watches, std::move(threads), source.get());
  if (!directories.ok()) return directories.status();
  source->directories_ = *std::move(directories);
  return source;
}

void QmpSource::Restore(VmSession session) {
  SocketSlot* const slot = SlotAt(session.run().raw_path);
  for (int spec = static_cast<int>(watches_.size()) - 1; spec >= 0; --spec) {
    if (watches_[spec].VmName(slot->path).has_value()) slot->spec = spec;
  }
  const SocketIdentity socket = session.run().socket;
  QmpRun* const run = AddRun(slot, kUnknownOwner,
                             std::make_unique<QmpRun>(context_, table_, this, std::move(session)));
  SetRun(slot, run);
  SetSocket(run, slot, {socket, kUnknownOwner});
}

void QmpSource::Start() {
  EndLostRuns(-1);
  directories_->Start();
  attempts_.CheckFirstScan();
}

void QmpSource::OnRead(int spec) {
  attempts_.OnRead(spec);
  EndLostRuns(spec);
}

void QmpSource::EndLostRuns(int spec) {
  for (VmRun* run : table_->RunsOf(this)) {
    const RunSockets& sockets = Own(run)->sockets();
    if (sockets.home->spec != spec || run->tracked() || run->connected() ||
        sockets.HasPresentSocket()) {
      continue;
    }
    if (sockets.home->run == run && spec >= 0) {
      TryConnect(sockets.home);  // its directory may not have been read: no descriptor was left
    } else {
      run->End();
    }
  }
}

void QmpSource::OnHangChange(int spec) {
  if (spec >= 0) directories_->OnHangChange(spec);
  const bool hangs = ThreadOf(spec)->hangs();
  for (VmRun* run : table_->RunsOf(this)) {
    if (Own(run)->sockets().home->spec == spec) run->Feed(input::DirectoryHangs{hangs});
  }
}

void QmpSource::EndTurn() {
  closed_connections_.clear();
  dropped_slots_.clear();
}

// Slots

std::string QmpSource::RawVmName(const SocketSlot& slot) const {
  return watches_[slot.spec].VmName(slot.path).value_or(std::string(slot.path));
}

SocketSlot* QmpSource::FindSlot(const std::string& path) {
  const auto it = slots_.find(path);
  return it != slots_.end() ? it->second.get() : nullptr;
}

SocketSlot* QmpSource::SlotAt(const std::string& path) {
  if (SocketSlot* const known = FindSlot(path)) return known;
  auto made = std::make_unique<SocketSlot>();
  made->path = path;
  const absl::string_view key = made->path;
  return slots_.try_emplace(key, std::move(made)).first->second.get();
}

void QmpSource::OnSocket(int spec, const std::string& below, const SeenSocket& socket) {
  SocketSlot* const slot = SlotAt(std::string(watches_[spec].PathOf(below)));
  if (slot->spec < 0) slot->spec = spec;
  slot->present = true;
  if (slot->run != nullptr && slot->run->connected()) {
    LeaveReplacedRun(slot, socket.identity);
    if (slot->run != nullptr) {
      slot->run->sockets().owner = socket.owner;
      return;
    }
  }
  slot->backoff = absl::ZeroDuration();
  Schedule(slot, absl::ZeroDuration());
}

void QmpSource::OnSocketGone(int spec, const std::string& below) {
  SocketSlot* const slot = FindSlot(std::string(watches_[spec].PathOf(below)));
  if (slot == nullptr) return;
  slot->present = false;
  context_->loop->CancelTimer(&slot->retry);
  ForgetProblem(slot);
  EndUntrackedRun(slot);
  DropSlotIfUnused(slot);
}

void QmpSource::DropSlotIfUnused(SocketSlot* slot) {
  if (!slot->unused()) return;
  SetRun(slot, nullptr);
  context_->loop->CancelTimer(&slot->retry);
  const auto it = slots_.find(slot->path);
  if (it == slots_.end() || it->second.get() != slot) return;  // dropped already
  dropped_slots_.push_back(std::move(it->second));
  slots_.erase(it);
}

void QmpSource::ReportProblem(SocketSlot* slot, const Problem& problem) {
  if (slot->run != nullptr) return slot->run->ReportProblem(problem);
  if (slot->problem == problem) return;
  slot->problem = problem;
  spdlog::warn("not following {}: {}", absl::CHexEscape(slot->path), problem.text);
  unfollowed_.Add(slot->path, RawVmName(*slot), problem, context_->loop->Now().wall);
}

void QmpSource::ForgetProblem(SocketSlot* slot) {
  if (slot->problem.empty()) return;
  slot->problem = {};
  unfollowed_.Remove(slot->path);
}

std::vector<ServiceHealth> QmpSource::Health() const {
  return {{kHealthService, Trouble().empty()}};
}

std::string QmpSource::Trouble() const {
  const MutexLock lock(&mutex_);
  const bool all_present =
      std::all_of(watched_.begin(), watched_.end(),
                  [](const v1::WatchedDirectory& directory) { return directory.present(); });
  return all_present ? "" : "a watched directory is missing";
}

void QmpSource::Describe(v1::GetServerInfoResponse* info) const {
  {
    const MutexLock lock(&mutex_);
    for (const v1::WatchedDirectory& directory : watched_) *info->add_directories() = directory;
  }
  unfollowed_.Describe(info);
}

std::vector<SourceMetric> QmpSource::Metrics() const {
  const DirectoryWatcher::Counters directories = directories_->counters();
  std::vector<SourceMetric> metrics = {
      {"vmeventd_inotify_overflows_total", "Times that the kernel's inotify queue overflowed",
       directories.overflows},
      {"vmeventd_directory_rescans_total", "Directories read again", directories.rescans},
      {"vmeventd_sockets_left_out_total",
       "Times that a socket was not watched because its directory had as many as it may have",
       directories.left_out},
      {"vmeventd_monitor_connect_retries_total",
       "Connections to monitors that were refused or found a full queue, and will be retried",
       meters_.connect_retries.value()},
      {"vmeventd_monitor_reconnects_total",
       "Monitors that answered again after their connection ended",
       meters_.monitor_reconnects.value()},
      {"vmeventd_protocol_errors_total",
       "Connections to monitors that were closed because they sent something other than QMP",
       meters_.protocol_errors.value()},
      {"vmeventd_unfinished_lines_refused_total",
       "Monitors that were closed because the unfinished lines of all monitors held too much "
       "memory",
       budget_.refused()},
      {"vmeventd_connects_put_off_total",
       "Connections to monitors that were postponed because too many sockets waited to be closed",
       meters_.connects_put_off.value()},
  };
  const MutexLock lock(&mutex_);
  for (const v1::WatchedDirectory& directory : watched_) {
    const SourceMetric::Labels labels = {{"directory", directory.path()},
                                         {"pattern", directory.pattern()}};
    metrics.push_back({"vmeventd_watched_directory_present",
                       "1 if the directory of a --watch exists and can be read",
                       directory.present() ? 1U : 0U, /*is_gauge=*/true, labels});
    metrics.push_back({"vmeventd_watched_directory_sockets",
                       "Sockets in the directory of a --watch",
                       static_cast<uint64_t>(directory.sockets()),
                       /*is_gauge=*/true, labels});
  }
  return metrics;
}

// Runs

QmpRun* QmpSource::Own(VmRun* run) {
  const bool own = run != nullptr && run->info().source_key == kKey;
  return own ? static_cast<QmpRun*>(run) : nullptr;
}

// The run id contains the process or, if that is not known, the time of the first sight: a launcher
// may listen at one path for one QEMU after another.
RunInfo QmpSource::Describe(const SocketSlot& slot, const SeenSocket& seen,
                            const PeerProcess& peer) {
  RunInfo info;
  info.process_tracked = peer.kind == PeerProcess::Kind::kTracked;
  if (info.process_tracked) info.SetProcess(DescribeProcess(peer, context_->oom_counters));
  info.run_id = context_->NewRunId(info, slot.path, seen.identity.inode);
  info.raw_name = RawVmName(slot);
  info.name = EscapeName(info.raw_name);
  info.raw_path = slot.path;
  info.monitor_path = EscapeNonUtf8(slot.path);
  info.source_key = kKey;
  info.source = QmpSourceName(info.monitor_path);
  info.pid_namespace = context_->pid_namespace;
  info.socket = seen.identity;
  return info;
}

void QmpSource::ForgetSocket(QmpRun* run) {
  std::optional<InodeKey>& inode = run->sockets().attached_inode;
  if (!inode.has_value()) return;
  const auto it = by_socket_.find(*inode);
  // A later run may have been attached by a socket of that inode.
  if (it != by_socket_.end() && it->second == run) by_socket_.erase(it);
  inode.reset();
}

void QmpSource::SetSocket(QmpRun* run, SocketSlot* slot, const SeenSocket& seen) {
  RunSockets& sockets = run->sockets();
  ForgetSocket(run);
  sockets.attached_inode = InodeOf(seen.identity);
  by_socket_[*sockets.attached_inode] = run;
  sockets.attached_by = slot;
  sockets.owner = seen.owner;
}

void QmpSource::SetRun(SocketSlot* slot, QmpRun* run) {
  if (slot->run == run) return;
  if (slot->run != nullptr) {
    RunSockets& before = slot->run->sockets();
    before.slots.erase(std::find(before.slots.begin(), before.slots.end(), slot));
    if (before.attached_by == slot) before.attached_by = nullptr;
  }
  slot->run = run;
  if (run == nullptr) return;
  run->sockets().slots.push_back(slot);
  if (run->published()) ForgetProblem(slot);
}

QmpRun* QmpSource::AddRun(SocketSlot* slot, uint32_t owner, std::unique_ptr<QmpRun> run) {
  QmpRun* const added = run.get();
  RunSockets& sockets = added->sockets();
  sockets.home = slot;
  sockets.owner = owner;
  ++slot->runs;
  table_->Add(this, std::move(run));
  path_check_.OnBegun();
  return added;
}

void QmpSource::EndUntrackedRun(SocketSlot* slot) {
  QmpRun* const run = slot->run;
  if (run != nullptr && !run->tracked() && !run->connected()) run->End();
}

// Reports of runs

void QmpSource::OnMonitorReady(QmpRun* run, const std::string& uuid) {
  for (SocketSlot* slot : run->sockets().slots) ForgetProblem(slot);  // the run's status has more
  table_->SetUuid(run, uuid);
}

void QmpSource::OnMonitorEnded(QmpRun* run, QmpRun::MonitorEnd end, absl::Duration answered_for) {
  const bool lost = end == QmpRun::MonitorEnd::kLost;
  const bool held = end == QmpRun::MonitorEnd::kHeld;
  const absl::Duration first = lost ? kFirstReconnect : held ? kFirstHeldRetry : kMaxRetry;
  const absl::Duration limit = lost || held ? kMaxRetry : kMaxRefusedRetry;
  bool leads_back = false;
  for (SocketSlot* slot : run->sockets().slots) {
    if (run->published()) ForgetProblem(slot);
    if (!slot->present) continue;
    leads_back = true;
    if (answered_for >= kSteadyMonitor) slot->backoff = absl::ZeroDuration();
    BackOff(slot, first, limit);
    // Another slot may be the one that leads to the monitor that greets.
    if (!lost && slot == run->sockets().attached_by) Schedule(slot, 2 * slot->backoff);
  }
  // The process's end will be seen, if it is tracked.
  if (!leads_back && !run->tracked()) run->End();
}

void QmpSource::OnNoVm(QmpRun* run, const Problem& problem) {
  SocketSlot* const slot = run->sockets().home;
  SetRun(slot, nullptr);
  run->Discard();
  if (!slot->present) return;
  if (problem.code == ProblemCode::kNotAVm || problem.code == ProblemCode::kManagersOwn) {
    slot->left_alone = true;
    return ReportProblem(slot, problem);
  }
  // A launcher may have listened for a QEMU that was slow to start, or that another client had.
  slot->silent_until = context_->loop->Now().monotonic + kMaxRefusedRetry;
  BackOff(slot, kFirstReconnect, kMaxRefusedRetry);
  // A QEMU of another name is connected to again at once, by its process.
  if (HasQemuCommandLine(*slot)) return Schedule(slot, absl::ZeroDuration());
  ReportProblem(slot, problem);
}

bool QmpSource::ReleaseToOther(QmpRun* run, const PeerProcess& sender) {
  VmRun* const other = table_->FindByProcess(sender);
  if (other == nullptr) return false;
  SocketSlot* const slot = run->sockets().home;
  SetRun(slot, Own(other));
  run->Discard();
  if (slot->present) BackOff(slot, kFirstReconnect, kMaxRefusedRetry);
  return true;
}

void QmpSource::OnOver(VmRun* run) {
  QmpRun* const own = Own(run);
  RunSockets& sockets = own->sockets();
  ForgetSocket(own);
  SocketSlot* const home = sockets.home;
  spdlog::debug("the VM at {} has ended", absl::CHexEscape(home->path));
  --home->runs;
  path_check_.OnOver(home->runs > 0);
  // A run that repeatedly starts and ends is retried less often.
  const bool lasted =
      run->tracked() ||
      context_->loop->Now().monotonic - run->session().attached_at().monotonic >= kSteadyMonitor;
  for (SocketSlot* slot : sockets.slots) {
    slot->run = nullptr;
    slot->end_seen = slot->socket == own->info().socket;
  }
  for (SocketSlot* slot : sockets.slots) {
    // The file may stay, and be listened on once more.
    if (lasted) slot->backoff = absl::ZeroDuration();
    if (slot->present) BackOff(slot, kFirstReconnect, kMaxRefusedRetry);
    if (slot != home) DropSlotIfUnused(slot);
  }
  DropSlotIfUnused(home);
}

}  // namespace vmeventd
