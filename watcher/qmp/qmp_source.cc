#include "watcher/qmp/qmp_source.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/backoff.h"
#include "base/unique_fd.h"
#include "spdlog/spdlog.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/health_services.h"
#include "watcher/core/managers.h"
#include "watcher/core/specs.h"
#include "watcher/qmp/connect_rules.h"
#include "watcher/runs/process.h"
#include "watcher/runs/process_watch.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/vm_run.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kFirstRetry = absl::Milliseconds(1);
constexpr absl::Duration kMaxRetry = absl::Seconds(5);
// Longest retry interval of a socket that refuses: the file that a killed QEMU left does for ever.
constexpr absl::Duration kMaxRefusedRetry = absl::Seconds(60);
// First retry after the end of a monitor that worked, whose process usually ends next.
constexpr absl::Duration kFirstReconnect = absl::Milliseconds(100);
constexpr absl::Duration kFirstHeldRetry = absl::Seconds(1);
// Shortest time for which a monitor must have answered to get a quick reconnect.
constexpr absl::Duration kSteadyMonitor = absl::Seconds(10);

// Owner of a run whose socket is gone.
constexpr uint32_t kUnknownOwner = ~0U;

constexpr char kQueueFull[] =
    "monitor held by another client, or QEMU hangs: the socket's queue of connections is full";
constexpr char kRefusedProblem[] =
    "nobody listens on the socket: a QEMU that ended has left it, or one is about to start; delete "
    "it if none is";
constexpr char kListenerGone[] =
    "the process that listened on the monitor's socket is gone, and the socket still accepts";
constexpr char kOutOfShare[] =
    "the VMs of this socket's user have three quarters of the file descriptors: the VM is not "
    "followed; raise LimitNOFILE of the service";

// Returns whether the slot has neither a socket nor a run: it is dropped, or about to be.
bool IsUnused(const SocketSlot& slot) { return !slot.present && slot.runs == 0; }

// The problem of a monitor whose queue of connections is full. `pid`: that of QEMU; 0: not known.
std::string QueueFull(int64_t pid) {
  if (pid == 0 || ReadProcessStat(pid).value_or(ProcessStat()).state != 'T') return kQueueFull;
  return absl::StrCat("QEMU (pid ", pid,
                      ") is stopped by a signal (state T), so that its monitor answers nobody: "
                      "kill -CONT ",
                      pid);
}

Problem CannotConnect(ProblemCode code, absl::string_view why) {
  return {code, absl::StrCat("cannot connect to the monitor: ", why)};
}

}  // namespace

QmpSource::QmpSource(RunContext* context, RunTable* table)
    : context_(context),
      table_(table),
      watches_(context->options->sources.watches),
      path_check_(context, table, this, &unfollowed_),
      attempts_(context, watches_.size(), this) {}

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
    if (sockets.home->spec != spec || run->tracked() || run->connected() || sockets.LeadBack()) {
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
    if (Own(run)->sockets().home->spec == spec) run->Hand(input::DirectoryHangs{hangs});
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
  if (!IsUnused(*slot)) return;
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
  const MutexLock lock(&mutex_);
  return {{kWatchService,
           std::all_of(watched_.begin(), watched_.end(),
                       [](const v1::WatchedDirectory& directory) { return directory.present(); })}};
}

void QmpSource::Describe(v1::GetServerInfoResponse* info) const {
  {
    const MutexLock lock(&mutex_);
    for (const v1::WatchedDirectory& directory : watched_) *info->add_directories() = directory;
  }
  unfollowed_.Describe(info);
}

void QmpSource::Counters(WatcherCounters* all) const {
  const DirectoryWatcher::Counters directories = directories_->counters();
  all->inotify_overflows += directories.overflows;
  all->rescans += directories.rescans;
  all->sockets_over_directory_limit += directories.left_out;
  all->connect_retries += meters_.connect_retries;
  all->connects_put_off += meters_.connects_put_off;
  all->monitor_reconnects += meters_.monitor_reconnects;
  all->protocol_errors += meters_.protocol_errors;
  all->lines_refused += budget_.refused();
}

// Connecting

void QmpSource::Schedule(SocketSlot* slot, absl::Duration delay) {
  context_->loop->SetTimerIn(&slot->retry, delay, [this, slot] { TryConnect(slot); });
}

void QmpSource::BackOff(SocketSlot* slot, absl::Duration first, absl::Duration limit) {
  slot->backoff = NextPause(slot->backoff, first, limit);
  Schedule(slot, slot->backoff);
}

bool QmpSource::TriedForLong(const SocketSlot& slot) const {
  return slot.backoff >= std::min(context_->options->greeting_timeout, kMaxRetry);
}

const char* QmpSource::Shortage(const SocketSlot& slot, const SeenSocket& seen) const {
  const int share = context_->max_vm_descriptors - context_->max_vm_descriptors / 4;
  // A run counts for its user already. While all users together have less than one's share, there
  // is nothing to count.
  if (slot.run == nullptr && context_->vm_descriptors + kDescriptorsOfRun > share) {
    const std::vector<VmRun*> runs = table_->RunsOf(this);
    const auto others = std::count_if(runs.begin(), runs.end(), [&](VmRun* run) {
      return Own(run)->sockets().owner == seen.owner;
    });
    if ((others + 1) * kDescriptorsOfRun > share) return kOutOfShare;
  }
  const bool has_room =
      context_->vm_descriptors + DescriptorsFor(slot) <= context_->max_vm_descriptors;
  return has_room ? nullptr : kOutOfDescriptorsProblem;
}

// A restored run may still need the descriptor of its process, and a run without a process that of
// the peer, which is known only when it sends something.
int QmpSource::DescriptorsFor(const SocketSlot& slot) const {
  const bool has_process =
      slot.run != nullptr &&
      (slot.run->followed() || (!slot.run->tracked() && !slot.run->awaits_sender()));
  return has_process ? 1 : kDescriptorsOfRun;
}

void QmpSource::AwaitDescriptors(SocketSlot* slot, const char* shortage) {
  context_->meters.out_of_descriptors.Add();
  BackOff(slot, kFirstRetry, kMaxRetry);
  ReportProblem(slot, {ProblemCode::kOutOfDescriptors, shortage});
}

void QmpSource::LeaveReplacedRun(SocketSlot* slot, const SocketIdentity& socket) {
  if (slot->run == nullptr || slot->run->IsSocketOf(*slot, socket)) return;
  EndUntrackedRun(slot);
  SetRun(slot, nullptr);
}

void QmpSource::TryConnect(SocketSlot* slot) {
  if (slot->run != nullptr && slot->run->connected()) return;
  if (slot->attempt != 0) {
    slot->try_again = true;
    return;
  }
  const bool finds_owner =
      slot->run == nullptr && !context_->options->sources.watch_manager_sockets;
  attempts_.Begin(slot, 0, [this, path = slot->path, finds_owner]() -> SocketAttempts::WithSlot {
    SeenSocket seen;
    const int error = LookAtSocket(path, &seen);
    const Manager* const owner = error == 0 && finds_owner ? OwnerOfFile(path) : nullptr;
    return [this, error, seen, owner](SocketSlot* there) { OnSeen(there, error, seen, owner); };
  });
}

void QmpSource::OnSeen(SocketSlot* slot, int error, const SeenSocket& seen, const Manager* owner) {
  if (slot->run != nullptr && slot->run->connected()) return;
  if (error != 0) return OnNotConnected(slot, error);
  LeaveReplacedRun(slot, seen.identity);
  if (IsUnused(*slot)) return;
  if (!(slot->socket == seen.identity)) {
    slot->silent_until = absl::ZeroDuration();
    slot->end_seen = false;
    slot->left_alone = false;
  }
  slot->socket = seen.identity;
  if (slot->left_alone) return;
  const auto attached = by_socket_.find(InodeOf(seen.identity));
  if (attached != by_socket_.end() && attached->second->info().socket == seen.identity) {
    SetRun(slot, attached->second);  // the socket was renamed, or has several paths
    if (slot->run->connected()) return;
  }
  if (!MayConnect(slot, owner)) return;
  if (const char* const shortage = Shortage(*slot, seen); shortage != nullptr) {
    return AwaitDescriptors(slot, shortage);
  }
  if (context_->closer.full()) {
    meters_.connects_put_off.Add();
    return OnNotConnected(slot, EMFILE);
  }
  // Those of attempts under way count, so that no two take the last ones.
  attempts_.Begin(
      slot, DescriptorsFor(*slot), [this, path = slot->path, seen]() -> SocketAttempts::WithSlot {
        SocketFile file;
        UniqueFd connection;
        int failed = OpenSocketFile(path, &file);
        if (failed == 0 && !(file.identity == seen.identity)) failed = ESTALE;
        if (failed == 0) failed = ConnectTo(file, &connection);
        return [this, failed, seen, connection = std::move(connection)](SocketSlot* there) mutable {
          ReceivingSocket socket(std::move(connection), &context_->closer);
          if (there->run != nullptr && there->run->connected()) return;
          if (failed != 0) return OnNotConnected(there, failed);
          Attach(there, seen, std::move(socket));
        };
      });
}

bool QmpSource::MayConnect(SocketSlot* slot, const Manager* owner) {
  const bool named_as_monitor = slot->spec >= 0 && watches_[slot->spec].names_monitors();
  const ConnectVerdict verdict = JudgeConnect(*context_, owner, named_as_monitor, slot);
  using May = ConnectVerdict::May;
  switch (verdict.may) {
    case May::kYes:
      return true;
    case May::kManagersOwn:
      ReportProblem(slot, ManagersOwnProblem(*verdict.manager));
      BackOff(slot, kMaxRefusedRetry, kMaxRefusedRetry);
      return false;
    case May::kNoMonitor:
      // A QEMU begins before it binds its socket, but its command line may not have been readable
      // then.
      if (TriedForLong(*slot)) ReportProblem(slot, NoMonitorProblem(*context_, *slot));
      BackOff(slot, kFirstRetry, kMaxRefusedRetry);
      return false;
    case May::kNotKnownYet:
      BackOff(slot, kFirstRetry, kMaxRetry);
      return false;
  }
  return false;
}

void QmpSource::OnNotConnected(SocketSlot* slot, int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ENOTSOCK:
      return EndUntrackedRun(slot);  // inotify reports what comes in its place
    case ESTALE:                     // it was replaced between the look and the connect
      return BackOff(slot, kFirstRetry, kMaxRetry);
    case ECONNREFUSED:
      meters_.connect_retries.Add();
      EndUntrackedRun(slot);
      if (IsUnused(*slot)) return;
      BackOff(slot, kFirstRetry, slot->run != nullptr ? kMaxRetry : kMaxRefusedRetry);
      if (slot->runs > 0) return;  // their VMs have the problem
      // Not at once: one that a QEMU binds refuses, too.
      return TriedForLong(*slot) && !slot->end_seen
                 ? ReportProblem(slot, {ProblemCode::kRefused, kRefusedProblem})
                 : ForgetProblem(slot);
    case EAGAIN:  // somebody listens, and its queue of connections is full
      meters_.connect_retries.Add();
      BackOff(slot, kFirstRetry, kMaxRetry);
      if (TriedForLong(*slot)) {
        const int64_t pid =
            slot->run != nullptr && slot->run->tracked() ? slot->run->info().pid : 0;
        ReportProblem(slot, {ProblemCode::kNoGreeting, QueueFull(pid)});
      }
      return;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
      return AwaitDescriptors(slot, kOutOfDescriptorsProblem);
    default:
      BackOff(slot, kFirstRetry, kMaxRetry);
      return ReportProblem(
          slot, CannotConnect(error == EACCES || error == EPERM ? ProblemCode::kPermissionDenied
                                                                : ProblemCode::kCannotConnect,
                              std::generic_category().message(error)));
  }
}

void QmpSource::Attach(SocketSlot* slot, const SeenSocket& seen, ReceivingSocket socket) {
  PeerProcess peer;
  if (context_->options->process_tracking) {
    absl::StatusOr<PeerProcess> identified = IdentifyPeer(socket.get());
    if (absl::IsResourceExhausted(identified.status())) return OnNotConnected(slot, EMFILE);
    if (!identified.ok()) {
      BackOff(slot, kFirstRetry, kMaxRetry);
      return ReportProblem(slot, {ProblemCode::kCannotConnect,
                                  absl::StrCat("cannot identify the process behind the monitor: ",
                                               identified.status().message())});
    }
    peer = *std::move(identified);
  }
  const bool gone = peer.kind == PeerProcess::Kind::kGone;
  const bool listener_seen = gone || peer.pid != 0;
  if (gone) {
    if (slot->run != nullptr && slot->run->process_ended()) {
      // Usually a QEMU that ended in this moment; else a child of it that still has the socket.
      BackOff(slot, kFirstRetry, kMaxRetry);
      if (TriedForLong(*slot)) ReportProblem(slot, {ProblemCode::kNoMonitor, kListenerGone});
      return;
    }
    peer = PeerProcess();
  } else if (peer.pid != 0 && !IsQemuAt(*context_, peer, slot)) {
    // A launcher, which may listen for many: who speaks will show which VM it is.
    peer = PeerProcess();
  }
  QmpRun* const run = RunFor(slot, seen, std::move(peer));
  if (run == nullptr) return;
  SetRun(slot, run);
  // Another way to the same run: its monitor is connected already.
  const RunSockets& sockets = run->sockets();
  if (run->connected() && slot != sockets.attached_by && slot != sockets.home) return;
  if (const absl::Status status = run->Attach(std::move(socket), seen.identity); !status.ok()) {
    BackOff(slot, kFirstRetry, kMaxRetry);
    return ReportProblem(slot, CannotConnect(ProblemCode::kCannotConnect, status.message()));
  }
  SetSocket(run, slot, seen);
  run->sockets().listener_seen = listener_seen;
  context_->loop->CancelTimer(&slot->retry);  // what the end of the connection before may have left
}

// Runs

QmpRun* QmpSource::Own(VmRun* run) const {
  const bool own = run != nullptr && RunTable::SourceOf(run) == this;
  return own ? static_cast<QmpRun*>(run) : nullptr;
}

QmpRun* QmpSource::RunFor(SocketSlot* slot, const SeenSocket& seen, PeerProcess peer) {
  const bool tracked = peer.kind == PeerProcess::Kind::kTracked;
  // The peer is who listened, which may be the launcher of the QEMU that has spoken there; and
  // before Linux 6.5, where that is gone, another process that has its id. So the run of that very
  // socket comes first. An inode may be used again, but not with the same time.
  QmpRun* known = slot->run;
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
  // The socket is another process's than that of the run it led to, which has its own end.
  EndUntrackedRun(slot);
  SetRun(slot, nullptr);
  if (const VmRun* const other = table_->FindByProcess(peer); other != nullptr) {
    // The socket leads nowhere else as long as that process lives.
    BackOff(slot, kMaxRefusedRetry, kMaxRefusedRetry);
    ReportProblem(slot, {ProblemCode::kFollowedElsewhere,
                         absl::StrCat("its process is followed as ", other->info().name, " of ",
                                      other->info().source)});
    return nullptr;
  }
  // The slot's run before may have needed fewer descriptors than a new one.
  if (const char* const shortage = Shortage(*slot, seen); shortage != nullptr) {
    AwaitDescriptors(slot, shortage);
    return nullptr;
  }
  spdlog::debug("following {}, {}", absl::CHexEscape(slot->path),
                tracked ? absl::StrCat("pid ", peer.pid) : "its process is not known");
  auto run = std::make_unique<QmpRun>(
      context_, table_, this,
      VmSession(Describe(*slot, seen, peer), &context_->options->session, context_->loop->Now()));
  if (tracked) {
    if (const absl::Status status = run->Track(std::move(peer)); !status.ok()) {
      BackOff(slot, kFirstRetry, kMaxRetry);
      ReportProblem(slot, CannotConnect(ProblemCode::kCannotConnect, status.message()));
      return nullptr;
    }
  }
  return AddRun(slot, seen.owner, std::move(run));
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
