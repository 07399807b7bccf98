#include "watcher/qmp/qmp_source.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "base/mutex.h"
#include "spdlog/spdlog.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/ganeti_directory.h"
#include "watcher/core/manager_logs.h"
#include "watcher/core/watch_spec.h"
#include "watcher/qmp/connect_rules.h"
#include "watcher/qmp/retry_pauses.h"
#include "watcher/qmp/socket_problems.h"
#include "watcher/runs/describe_process.h"
#include "watcher/runs/peer_process.h"
#include "watcher/runs/process.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/vm_run.h"

namespace vmeventd {
namespace {

constexpr char kListenerGone[] =
    "the process that listened on the monitor's socket is gone, and the socket still accepts";

// Owner of a run whose socket is gone.
constexpr uint32_t kUnknownOwner = ~0U;

}  // namespace

std::string QmpSourceName(absl::string_view monitor_path) {
  const size_t slash = monitor_path.rfind('/');
  VmSource source = {kQmpKey, ""};
  if (slash != absl::string_view::npos) {
    source.where = std::string(monitor_path.substr(0, std::max(slash, size_t{1})));
  }
  return source.text();
}

void DescribeGanetisFiles(RunInfo* run) {
  const absl::string_view path = run->raw_path;
  // A directory of others need not be writable.
  run->has_shutdown_file = absl::EndsWith(path, kGanetiMonitorSuffix);
  // By -D and -daemonize, QEMU's standard error.
  if (IsGanetiControlDirectory(path.substr(0, path.rfind('/')))) {
    run->log = {kGanetiLogs, LastWordsSource::kStandardError};
  }
}

QmpSource::QmpSource(RunContext* context, RunTable* table)
    : context_(context),
      table_(table),
      watches_(context->options->sources.watches),
      path_check_(context, table, this, &slots_.unfollowed()),
      connector_(context, &slots_, &meters_, this) {}

SourceKind QmpSource::Kind() {
  return {.key = kKey,
          .health_service = kHealthService,
          .load_library = nullptr,
          .make = [](RunContext* context, RunTable* table, UpdateSink*) {
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
  SocketSlot* const slot = slots_.At(session.run().raw_path);
  for (int spec = static_cast<int>(watches_.size()) - 1; spec >= 0; --spec) {
    if (watches_[spec].VmName(slot->path).has_value()) slot->spec = spec;
  }
  const SocketIdentity socket = session.run().socket;
  QmpRun* const run = AddRun(slot, kUnknownOwner,
                             std::make_unique<QmpRun>(context_, table_, this, std::move(session)));
  SetRun(slot, run);
  slots_.SetAttached(&run->sockets(), slot, {socket, kUnknownOwner});
}

void QmpSource::Start() {
  EndLostRuns(-1);
  directories_->Start();
  connector_.CheckFirstScan();
}

void QmpSource::OnRead(int spec) {
  connector_.OnRead(spec);
  EndLostRuns(spec);
}

void QmpSource::EndLostRuns(int spec) {
  for (VmRun* run : table_->RunsOf(this)) {
    const RunSockets& sockets = Own(run)->sockets();
    if (sockets.home->spec != spec || run->tracked() || run->connected() ||
        sockets.HasPresentSocket()) {
      continue;
    }
    if (sockets.home->run() == run && spec >= 0) {
      connector_.TryConnect(
          sockets.home);  // its directory may not have been read: no descriptor was left
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
  slots_.FreeDropped();
}

// Slots

std::string QmpSource::RawVmName(const SocketSlot& slot) const {
  return watches_[slot.spec].VmName(slot.path).value_or(std::string(slot.path));
}

void QmpSource::OnSocket(int spec, const std::string& below, const SeenSocket& socket) {
  SocketSlot* const slot = slots_.At(std::string(watches_[spec].PathOf(below)));
  if (slot->spec < 0) slot->spec = spec;
  slot->present = true;
  if (slot->run() != nullptr && slot->run()->connected()) {
    LeaveReplacedRun(slot, socket.identity);
    if (slot->run() != nullptr) {
      slot->run()->sockets().owner = socket.owner;
      return;
    }
  }
  slot->backoff = absl::ZeroDuration();
  connector_.Schedule(slot, absl::ZeroDuration());
}

void QmpSource::OnSocketGone(int spec, const std::string& below) {
  SocketSlot* const slot = slots_.Find(std::string(watches_[spec].PathOf(below)));
  if (slot == nullptr) return;
  slot->present = false;
  connector_.Cancel(slot);
  slots_.ClearProblem(slot);
  EndUntrackedRun(slot);
  DropSlotIfUnused(slot);
}

void QmpSource::DropSlotIfUnused(SocketSlot* slot) {
  if (!slot->unused()) return;
  connector_.Cancel(slot);
  slots_.Drop(slot);
}

void QmpSource::ReportProblem(SocketSlot* slot, const Problem& problem) {
  if (slot->run() != nullptr) return slot->run()->ReportProblem(problem);
  if (!slots_.SetProblem(slot, RawVmName(*slot), problem, context_->loop->Now().wall)) return;
  spdlog::warn("not following {}: {}", absl::CHexEscape(slot->path), problem.text);
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
  slots_.unfollowed().Describe(info);
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
  DescribeGanetisFiles(&info);
  info.pid_namespace = context_->pid_namespace;
  info.socket = seen.identity;
  return info;
}

void QmpSource::SetRun(SocketSlot* slot, QmpRun* run) {
  if (slot->run() == run) return;
  slots_.Lead(slot, run != nullptr ? &run->sockets() : nullptr);
  if (run != nullptr && run->published()) slots_.ClearProblem(slot);
}

QmpRun* QmpSource::AddRun(SocketSlot* slot, uint32_t owner, std::unique_ptr<QmpRun> run) {
  QmpRun* const added = run.get();
  slots_.AddRun(slot, owner, &added->sockets());
  table_->Add(this, std::move(run));
  path_check_.OnBegun();
  return added;
}

void QmpSource::EndUntrackedRun(SocketSlot* slot) {
  QmpRun* const run = slot->run();
  if (run != nullptr && !run->tracked() && !run->connected()) run->End();
}

// Connections

void QmpSource::LeaveReplacedRun(SocketSlot* slot, const SocketIdentity& socket) {
  if (slot->run() == nullptr || slot->run()->IsSocketOf(*slot, socket)) return;
  slot->run()->sockets().path_taken = true;
  path_check_.OnTaken();
  EndUntrackedRun(slot);
  SetRun(slot, nullptr);
}

bool QmpSource::OnSeen(SocketSlot* slot, const SeenSocket& seen) {
  LeaveReplacedRun(slot, seen.identity);
  if (slot->unused()) return false;
  SlotTable::SetSeen(slot, seen.identity);
  if (slot->left_alone) return false;
  const RunSockets* const attached = slots_.AttachedBy(InodeOf(seen.identity));
  if (attached == nullptr || !(attached->run->info().socket == seen.identity)) return true;
  if (slot->run() != attached->run) {
    SetRun(slot, attached->run);  // the socket was renamed, or has several paths
    path_check_.OnFound(*attached->run);
  }
  return !slot->run()->connected();
}

void QmpSource::OnConnected(SocketSlot* slot, const SeenSocket& seen, ReceivingSocket socket) {
  PeerProcess peer;
  if (context_->options->process_tracking) {
    absl::StatusOr<PeerProcess> identified = IdentifyPeer(socket.get());
    if (absl::IsResourceExhausted(identified.status())) {
      return connector_.OnNotConnected(slot, EMFILE);
    }
    if (!identified.ok()) {
      connector_.BackOff(slot, kFirstRetry, kMaxRetry);
      return ReportProblem(slot, {ProblemCode::kCannotConnect,
                                  absl::StrCat("cannot identify the process behind the monitor: ",
                                               identified.status().message())});
    }
    peer = *std::move(identified);
  }
  const bool gone = peer.kind == PeerProcess::Kind::kGone;
  const bool listener_seen = gone || peer.pid != 0;
  if (gone) {
    if (slot->run() != nullptr && slot->run()->process_ended()) {
      // Usually this is a QEMU that has just ended; otherwise a child of it that still has the
      // socket.
      connector_.BackOff(slot, kFirstRetry, kMaxRetry);
      if (connector_.TriedForLong(*slot)) {
        ReportProblem(slot, {ProblemCode::kNoMonitor, kListenerGone});
      }
      return;
    }
    peer = PeerProcess();
  } else if (peer.pid != 0 && !IsQemuAt(*context_, peer, HasNameOfQemu(peer.pid), slot)) {
    // The peer may be a launcher that listens for many VMs: the sender will show which VM it is.
    peer = PeerProcess();
  }
  QmpRun* const run = RunFor(slot, seen, std::move(peer));
  if (run == nullptr) return;
  SetRun(slot, run);
  // The slot is another way to the same run, whose monitor is connected already.
  const RunSockets& sockets = run->sockets();
  if (run->connected() && slot != sockets.attached_by && slot != sockets.home) return;
  if (const absl::Status status = run->Attach(std::move(socket), seen.identity); !status.ok()) {
    connector_.BackOff(slot, kFirstRetry, kMaxRetry);
    return ReportProblem(slot, CannotConnect(ProblemCode::kCannotConnect, status.message()));
  }
  slots_.SetAttached(&run->sockets(), slot, seen);
  run->sockets().listener_seen = listener_seen;
  connector_.Cancel(slot);  // what the end of the connection before may have left
}

QmpRun* QmpSource::RunFor(SocketSlot* slot, const SeenSocket& seen, PeerProcess peer) {
  const bool tracked = peer.kind == PeerProcess::Kind::kTracked;
  // The peer is the process that listened. It may be the launcher of the QEMU that sends there;
  // before Linux 6.5 it may also be another process that reuses the listener's pid. So the run of
  // that very socket comes first. An inode may be used again, but not with the same time.
  QmpRun* known = slot->run();
  if (known == nullptr || (tracked && !(known->info().socket == seen.identity))) {
    known = Own(table_->FindByProcess(peer));
  }
  if (known != nullptr) {
    if (!tracked || known->followed()) return known;
    if (!known->tracked()) {
      known->TrackInstead(std::move(peer)).IgnoreError();
    } else if (known->info().pid == peer.pid && known->info().start_ticks == peer.start_ticks) {
      known->Track(std::move(peer)).IgnoreError();  // else it is looked for again
    }
    return known;
  }
  // The socket belongs to another process than its former run, whose end is seen by itself.
  EndUntrackedRun(slot);
  SetRun(slot, nullptr);
  if (const VmRun* const other = table_->FindByProcess(peer); other != nullptr) {
    // The socket leads nowhere else as long as its process lives.
    connector_.BackOff(slot, kMaxRefusedRetry, kMaxRefusedRetry);
    ReportProblem(slot, {ProblemCode::kFollowedElsewhere,
                         absl::StrCat("its process is followed as ", other->info().name, " of ",
                                      other->info().source)});
    return nullptr;
  }
  // The slot's run before may have needed fewer descriptors than a new one.
  if (!connector_.HasDescriptors(slot, seen)) return nullptr;
  spdlog::debug("following {} ({})", absl::CHexEscape(slot->path),
                tracked ? absl::StrCat("pid ", peer.pid) : "process not known");
  auto run = std::make_unique<QmpRun>(
      context_, table_, this,
      VmSession(Describe(*slot, seen, peer), &context_->options->session, context_->loop->Now()));
  if (tracked) {
    if (const absl::Status status = run->Track(std::move(peer)); !status.ok()) {
      connector_.BackOff(slot, kFirstRetry, kMaxRetry);
      ReportProblem(slot, CannotConnect(ProblemCode::kCannotConnect, status.message()));
      return nullptr;
    }
  }
  return AddRun(slot, seen.owner, std::move(run));
}

int QmpSource::CountRunsOf(uint32_t owner) const {
  const std::vector<VmRun*> runs = table_->RunsOf(this);
  return static_cast<int>(std::count_if(
      runs.begin(), runs.end(), [&](VmRun* run) { return Own(run)->sockets().owner == owner; }));
}

// Reports of runs

void QmpSource::OnMonitorReady(QmpRun* run, const std::string& uuid) {
  // The run has a status of its own now, with its own problems.
  for (SocketSlot* slot : run->sockets().slots) slots_.ClearProblem(slot);
  table_->SetUuid(run, uuid);
}

void QmpSource::OnMonitorEnded(QmpRun* run, QmpRun::MonitorEnd end, absl::Duration answered_for) {
  const bool lost = end == QmpRun::MonitorEnd::kLost;
  const bool held = end == QmpRun::MonitorEnd::kHeld;
  const absl::Duration first = lost ? kFirstReconnect : held ? kFirstHeldRetry : kMaxRetry;
  const absl::Duration limit = lost || held ? kMaxRetry : kMaxRefusedRetry;
  bool leads_back = false;
  for (SocketSlot* slot : run->sockets().slots) {
    if (run->published()) slots_.ClearProblem(slot);
    if (!slot->present) continue;
    leads_back = true;
    if (answered_for >= kSteadyMonitor) slot->backoff = absl::ZeroDuration();
    connector_.BackOff(slot, first, limit);
    // Another slot may be the one that leads to the monitor that greets.
    if (!lost && slot == run->sockets().attached_by) connector_.Schedule(slot, 2 * slot->backoff);
  }
  // The end of a tracked process will be seen.
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
  connector_.BackOff(slot, kFirstReconnect, kMaxRefusedRetry);
  // A QEMU with another process name is connected to again at once: its process is known.
  if (HasQemuCommandLine(*slot)) return connector_.Schedule(slot, absl::ZeroDuration());
  ReportProblem(slot, problem);
}

bool QmpSource::ReleaseToOther(QmpRun* run, const PeerProcess& sender) {
  VmRun* const other = table_->FindByProcess(sender);
  if (other == nullptr) return false;
  SocketSlot* const slot = run->sockets().home;
  SetRun(slot, Own(other));
  run->Discard();
  if (slot->present) connector_.BackOff(slot, kFirstReconnect, kMaxRefusedRetry);
  return true;
}

void QmpSource::OnOver(VmRun* run) {
  QmpRun* const own = Own(run);
  RunSockets& sockets = own->sockets();
  SocketSlot* const home = sockets.home;
  spdlog::debug("the VM at {} has ended", absl::CHexEscape(home->path));
  slots_.RemoveRun(&sockets, own->info().socket);
  path_check_.OnOver(home->runs > 0);
  // A run that repeatedly starts and ends is retried less often.
  const bool lasted =
      run->tracked() ||
      context_->loop->Now().monotonic - run->session().attached_at().monotonic >= kSteadyMonitor;
  for (SocketSlot* slot : sockets.slots) {
    // The file may stay, and be listened on once more.
    if (lasted) slot->backoff = absl::ZeroDuration();
    if (slot->present) connector_.BackOff(slot, kFirstReconnect, kMaxRefusedRetry);
    if (slot != home) DropSlotIfUnused(slot);
  }
  DropSlotIfUnused(home);
}

}  // namespace vmeventd
