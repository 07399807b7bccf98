#include <algorithm>
#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/system.h"
#include "spdlog/spdlog.h"
#include "watcher/core/managers.h"
#include "watcher/core/names.h"
#include "watcher/core/specs.h"
#include "watcher/qmp/qmp_source.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/process.h"

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
constexpr char kNoMonitor[] =
    "no running QEMU's command line names this socket as a QMP monitor: a QEMU that ended has left "
    "it, or it is another program's, and vmeventd leaves it alone; a monitor that no command line "
    "names must be called NAME.qmp";

// Its socket is not there and no run has it: it was dropped, or is to be.
bool IsUnused(const SocketSlot& slot) { return !slot.present && slot.runs == 0; }

// Empty members: the process has ended, or /proc hides it.
ProcessStat StatOf(int64_t pid) { return ReadProcessStat(pid).value_or(ProcessStat()); }

// The problem of a socket that is called as a monitor is, and is another program's.
std::string ForeignListener(int64_t pid) {
  return absl::StrCat("its listener, ", EscapeName(StatOf(pid).name), " (pid ", pid,
                      "), is not a QEMU: it sent no QMP greeting, and no running QEMU's command "
                      "line names this socket; vmeventd leaves it alone");
}

// The problem of a monitor whose queue of connections is full. `pid`: its QEMU's; 0: not known.
std::string QueueFull(int64_t pid) {
  if (pid == 0 || StatOf(pid).state != 'T') return kQueueFull;
  return absl::StrCat("QEMU (pid ", pid,
                      ") is stopped by a signal (state T), so that its monitor answers nobody: "
                      "kill -CONT ",
                      pid);
}

Problem CannotConnect(absl::string_view why) {
  return {ProblemCode::kCannotConnect, absl::StrCat("cannot connect to the monitor: ", why)};
}

// Returns whether the command line of who listens there has been read, and is a QEMU's.
bool SaysQemu(const SocketSlot& slot) {
  if (!slot.listener.has_value()) return false;
  const CommandLines::Read& read = *slot.listener->command_line;
  return read.done() && read.found() != nullptr;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SocketConnector>> SocketConnector::Create(RunContext* context,
                                                                         RunTable* table) {
  std::unique_ptr<SocketConnector> connector(new SocketConnector(context, table));
  absl::StatusOr<std::unique_ptr<DirectoryWatcher>> directories =
      DirectoryWatcher::Create(context->loop, context->options->watches, connector.get());
  if (!directories.ok()) return directories.status();
  connector->directories_ = *std::move(directories);
  return connector;
}

VmRun* SocketConnector::Restore(VmSession* session) {
  if (session->run().reported_by != ReportedBy::kMonitor) return nullptr;
  SocketSlot* const slot = SlotAt(session->run().raw_path);
  for (int spec = static_cast<int>(watches_.size()) - 1; spec >= 0; --spec) {
    if (watches_[spec].VmName(slot->path).has_value()) slot->spec = spec;
  }
  const SocketIdentity socket = session->run().socket;
  SocketIdentity there;
  uint32_t owner = kUnknownOwner;
  IdentifySocket(slot->path, &there, &owner);
  QmpRun* const run =
      AddRun(slot, owner, std::make_unique<QmpRun>(context_, table_, this, std::move(*session)));
  SetRun(slot, run);
  SetSocket(run, slot, socket, owner);
  return run;
}

void SocketConnector::Start() {
  directories_->Start();
  // Timers fire in their order: this one after those that try the sockets that are there.
  context_->loop->AddTimer(context_->loop->Now().monotonic, [this] { first_scan_done_ = true; });
  // An untracked run to which no socket leads has ended.
  for (VmRun* run : table_->RunsOf(this)) {
    const RunSockets& sockets = Own(run)->sockets();
    if (run->tracked() || run->connected() ||
        std::any_of(sockets.ways.begin(), sockets.ways.end(),
                    [](const SocketSlot* way) { return way->present; })) {
      continue;
    }
    if (sockets.home->run == run && sockets.home->spec >= 0) {
      TryConnect(sockets.home);  // its directory may not have been read: no descriptor was left
    } else {
      run->End();
    }
  }
}

void SocketConnector::EndTurn() {
  closed_connections_.clear();
  dropped_slots_.clear();
}

// Slots

std::string SocketConnector::RawVmName(const SocketSlot& slot) const {
  return watches_[slot.spec].VmName(slot.path).value_or(std::string(slot.path));
}

SocketSlot* SocketConnector::SlotAt(const std::string& path) {
  const auto it = slots_.find(path);
  if (it != slots_.end()) return it->second.get();
  auto made = std::make_unique<SocketSlot>();
  made->path = path;
  const absl::string_view key = made->path;
  return slots_.try_emplace(key, std::move(made)).first->second.get();
}

void SocketConnector::OnSocket(int spec, const std::string& below) {
  SocketSlot* const slot = SlotAt(std::string(watches_[spec].PathOf(below)));
  if (slot->spec < 0) slot->spec = spec;
  slot->present = true;
  if (slot->run != nullptr && slot->run->connected()) {
    SocketIdentity socket;
    if (IdentifySocket(slot->path, &socket) != 0) return;  // its removal will be reported
    LeaveReplacedRun(slot, socket);
    if (slot->run != nullptr) return;
  }
  slot->backoff = absl::ZeroDuration();
  Schedule(slot, absl::ZeroDuration());
}

void SocketConnector::OnSocketGone(int spec, const std::string& below) {
  const auto it = slots_.find(watches_[spec].PathOf(below));
  if (it == slots_.end()) return;
  SocketSlot* const slot = it->second.get();
  slot->present = false;
  context_->loop->CancelTimer(&slot->retry);
  ForgetProblem(slot);
  EndUntrackedRun(slot);
  DropSlotIfUnused(slot);
}

void SocketConnector::DropSlotIfUnused(SocketSlot* slot) {
  if (!IsUnused(*slot)) return;
  SetRun(slot, nullptr);
  context_->loop->CancelTimer(&slot->retry);
  const auto it = slots_.find(slot->path);
  if (it == slots_.end() || it->second.get() != slot) return;  // dropped already
  dropped_slots_.push_back(std::move(it->second));
  slots_.erase(it);
}

void SocketConnector::ReportProblem(SocketSlot* slot, const Problem& problem) {
  if (slot->run != nullptr) return slot->run->ReportProblem(problem);
  if (slot->problem == problem) return;
  slot->problem = problem;
  spdlog::warn("{}: {}", absl::CHexEscape(slot->path), problem.text);
  const MutexLock lock(&mutex_);
  v1::UnfollowedSocket& listed = unfollowed_[slot->path];
  listed.set_path(EscapeNonUtf8(slot->path));
  listed.set_name(EscapeName(RawVmName(*slot)));
  *listed.mutable_problem() = ToProto(problem);
  if (!listed.has_since()) *listed.mutable_since() = ToTimestamp(context_->loop->Now().wall);
}

void SocketConnector::ForgetProblem(SocketSlot* slot) {
  if (slot->problem.empty()) return;
  slot->problem = {};
  const MutexLock lock(&mutex_);
  unfollowed_.erase(slot->path);
}

bool SocketConnector::sees_all_directories() const {
  const MutexLock lock(&mutex_);
  return std::all_of(watched_.begin(), watched_.end(),
                     [](const v1::WatchedDirectory& directory) { return directory.present(); });
}

void SocketConnector::Describe(v1::GetServerInfoResponse* info) const {
  constexpr int kMaxListed = 1000;
  const MutexLock lock(&mutex_);
  for (const v1::WatchedDirectory& directory : watched_) *info->add_directories() = directory;
  for (const auto& [path, socket] : unfollowed_) {
    if (info->unfollowed_sockets_size() < kMaxListed) *info->add_unfollowed_sockets() = socket;
  }
}

// Connecting

void SocketConnector::Schedule(SocketSlot* slot, absl::Duration delay) {
  context_->loop->SetTimerIn(&slot->retry, delay, [this, slot] { TryConnect(slot); });
}

void SocketConnector::BackOff(SocketSlot* slot, absl::Duration first, absl::Duration limit) {
  slot->backoff = NextPause(slot->backoff, first, limit);
  Schedule(slot, slot->backoff);
}

bool SocketConnector::TriedForLong(const SocketSlot& slot) const {
  return slot.backoff >= std::min(context_->options->greeting_timeout, kMaxRetry);
}

const char* SocketConnector::Shortage(const SocketSlot& slot, const SocketFile& file) const {
  const int share = context_->max_vm_descriptors - context_->max_vm_descriptors / 4;
  // A run counts for its user already. While all users together have less than one's share, there
  // is nothing to count.
  if (slot.run == nullptr && context_->vm_descriptors + kDescriptorsOfRun > share) {
    const std::vector<VmRun*> runs = table_->RunsOf(this);
    const auto others = std::count_if(runs.begin(), runs.end(), [&](VmRun* run) {
      return Own(run)->sockets().owner == file.owner;
    });
    if ((others + 1) * kDescriptorsOfRun > share) return kOutOfShare;
  }
  // One that was restored may still lack the descriptor of its process, and one without a process
  // that of who will speak.
  const bool has_process =
      slot.run != nullptr &&
      (slot.run->followed() || (!slot.run->tracked() && !slot.run->awaits_speaker()));
  const int needed = has_process ? 1 : kDescriptorsOfRun;
  const bool has_room = context_->vm_descriptors + needed <= context_->max_vm_descriptors;
  return has_room ? nullptr : kOutOfDescriptorsProblem;
}

void SocketConnector::AwaitDescriptors(SocketSlot* slot, const char* shortage) {
  context_->meters.out_of_descriptors.Add();
  BackOff(slot, kFirstRetry, kMaxRetry);
  ReportProblem(slot, {ProblemCode::kOutOfDescriptors, shortage});
}

void SocketConnector::LeaveReplacedRun(SocketSlot* slot, const SocketIdentity& socket) {
  if (slot->run == nullptr || slot->run->IsSocketOf(*slot, socket)) return;
  EndUntrackedRun(slot);
  SetRun(slot, nullptr);
}

void SocketConnector::TryConnect(SocketSlot* slot) {
  if (slot->run != nullptr && slot->run->connected()) return;
  SocketFile file;
  const int not_opened = OpenSocketFile(slot->path, &file);
  // To look at the socket takes no descriptor.
  if (not_opened == 0 || IdentifySocket(slot->path, &file.identity) == 0) {
    LeaveReplacedRun(slot, file.identity);
    if (IsUnused(*slot)) return;
    if (!(slot->socket == file.identity)) {
      slot->silent_until = absl::ZeroDuration();
      slot->end_seen = false;
    }
    slot->socket = file.identity;
  }
  if (not_opened != 0) return OnNotConnected(slot, not_opened);
  const auto attached = by_socket_.find(InodeOf(file.identity));
  if (attached != by_socket_.end() && attached->second->info().socket == file.identity) {
    SetRun(slot, attached->second);  // the socket was renamed, or has several paths
    if (slot->run->connected()) return;
  }
  if (!MayConnect(slot)) return;
  if (const char* const shortage = Shortage(*slot, file); shortage != nullptr) {
    return AwaitDescriptors(slot, shortage);
  }
  if (context_->closer.full()) {
    context_->meters.connects_put_off.Add();
    return OnNotConnected(slot, EMFILE);
  }
  UniqueFd socket;
  if (const int error = ConnectTo(file, &socket); error != 0) return OnNotConnected(slot, error);
  Attach(slot, file, ReceivingSocket(std::move(socket), &context_->closer));
}

bool SocketConnector::MayConnect(SocketSlot* slot) {
  CommandLines* const command_lines = context_->options->command_lines.get();
  const bool foreign = context_->loop->Now().monotonic < slot->silent_until &&
                       slot->listener.has_value() && !SaysQemu(*slot);
  if (slot->run != nullptr || command_lines == nullptr ||
      (watches_[slot->spec].names_monitors() && !foreign)) {
    return true;
  }
  if (slot->monitors == nullptr) slot->monitors = command_lines->BeginMonitors();
  if (const auto found = slot->monitors->Find(InodeOf(slot->socket))) {
    slot->monitors = nullptr;
    const Manager* const owner = context_->options->watch_manager_sockets ? nullptr : *found;
    if (owner != nullptr) {
      ReportProblem(slot,
                    {ProblemCode::kManagersOwn, absl::StrCat("this monitor ", Refusal(*owner))});
      BackOff(slot, kMaxRefusedRetry, kMaxRefusedRetry);
      return false;
    }
    slot->silent_until = absl::ZeroDuration();
    return true;
  }
  const bool done = slot->monitors->done();
  if (done) slot->monitors = nullptr;  // another one finds a QEMU that began meanwhile
  // A QEMU begins before it binds its socket, but its command line may not have been readable then.
  if (done && TriedForLong(*slot)) {
    ReportProblem(slot, {ProblemCode::kNoMonitor,
                         foreign ? ForeignListener(slot->listener->process.pid) : kNoMonitor});
  }
  BackOff(slot, kFirstRetry, done ? kMaxRefusedRetry : kMaxRetry);
  return false;
}

void SocketConnector::OnNotConnected(SocketSlot* slot, int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ENOTSOCK:
      return EndUntrackedRun(slot);  // inotify reports what comes in its place
    case ECONNREFUSED:
      context_->meters.connect_retries.Add();
      EndUntrackedRun(slot);
      if (IsUnused(*slot)) return;
      BackOff(slot, kFirstRetry, slot->run != nullptr ? kMaxRetry : kMaxRefusedRetry);
      if (slot->run != nullptr) return;  // its VM has the problem
      // Not at once: one that a QEMU binds refuses, too.
      return TriedForLong(*slot) && !slot->end_seen
                 ? ReportProblem(slot, {ProblemCode::kRefused, kRefusedProblem})
                 : ForgetProblem(slot);
    case EAGAIN:  // somebody listens, and its queue of connections is full
      context_->meters.connect_retries.Add();
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
      return ReportProblem(slot, CannotConnect(std::generic_category().message(error)));
  }
}

void SocketConnector::Attach(SocketSlot* slot, const SocketFile& file, ReceivingSocket socket) {
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
  } else if (peer.pid != 0 && !IsQemuAt(slot, peer)) {
    // A launcher, which may listen for many: who speaks will show which VM it is.
    peer = PeerProcess();
  }
  QmpRun* const run = RunFor(slot, file, std::move(peer));
  if (run == nullptr) return;
  SetRun(slot, run);
  // Another way to the same run: its monitor is connected already.
  const RunSockets& sockets = run->sockets();
  if (run->connected() && slot != sockets.attached_by && slot != sockets.home) return;
  if (const absl::Status status = run->Attach(std::move(socket), file.identity); !status.ok()) {
    BackOff(slot, kFirstRetry, kMaxRetry);
    return ReportProblem(slot, CannotConnect(status.message()));
  }
  SetSocket(run, slot, file.identity, file.owner);
  run->sockets().listener_seen = listener_seen;
  context_->loop->CancelTimer(&slot->retry);  // what the end of the connection before may have left
}

bool SocketConnector::IsQemuAt(SocketSlot* slot, const PeerProcess& peer) const {
  if (HasNameOfQemu(peer.pid)) {
    slot->listener.reset();
    return true;
  }
  CommandLines* const command_lines = context_->options->command_lines.get();
  if (command_lines == nullptr || peer.kind != PeerProcess::Kind::kTracked) return false;
  const ProcessKey listener{.pid = peer.pid, .start_ticks = peer.start_ticks};
  const SocketSlot::ListeningProcess* const known = slot->listener.get();
  if (known == nullptr || !(known->process == listener)) {
    std::shared_ptr<const CommandLines::Read> read = command_lines->Begin(peer.pid);
    slot->listener.reset();
    if (read != nullptr) slot->listener = SocketSlot::ListeningProcess{listener, std::move(read)};
  }
  return SaysQemu(*slot);
}

// Runs

QmpRun* SocketConnector::Own(VmRun* run) const {
  const bool own = run != nullptr && RunTable::SourceOf(run) == this;
  return own ? static_cast<QmpRun*>(run) : nullptr;
}

QmpRun* SocketConnector::RunFor(SocketSlot* slot, const SocketFile& file, PeerProcess peer) {
  const bool tracked = peer.kind == PeerProcess::Kind::kTracked;
  // The peer is who listened, which may be the launcher of the QEMU that has spoken there; and
  // before Linux 6.5, where that is gone, another process that has its id. So the run of that very
  // socket comes first. An inode may be used again, but not with the same time.
  QmpRun* known = slot->run;
  if (known == nullptr || (tracked && !(known->info().socket == file.identity))) {
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
  if (const char* const shortage = Shortage(*slot, file); shortage != nullptr) {
    AwaitDescriptors(slot, shortage);
    return nullptr;
  }
  spdlog::debug("following {}, {}", absl::CHexEscape(slot->path),
                tracked ? absl::StrCat("pid ", peer.pid) : "its process is not known");
  auto run = std::make_unique<QmpRun>(
      context_, table_, this,
      VmSession(Describe(*slot, file, peer), &context_->options->session, context_->loop->Now()));
  if (tracked) {
    if (const absl::Status status = run->Track(std::move(peer)); !status.ok()) {
      BackOff(slot, kFirstRetry, kMaxRetry);
      ReportProblem(slot, CannotConnect(status.message()));
      return nullptr;
    }
  }
  return AddRun(slot, file.owner, std::move(run));
}

// A run that is found by its process has that in its id. A launcher may listen at one path for one
// QEMU after the other, so that without a process the time of the first sight counts.
RunInfo SocketConnector::Describe(const SocketSlot& slot, const SocketFile& file,
                                  const PeerProcess& peer) {
  RunInfo info;
  info.process_tracked = peer.kind == PeerProcess::Kind::kTracked;
  if (info.process_tracked) info.SetProcess(DescribeProcess(peer, context_->oom_counters));
  info.run_id = context_->NewRunId(info, slot.path, file.identity.inode);
  info.raw_name = RawVmName(slot);
  info.name = EscapeName(info.raw_name);
  info.raw_path = slot.path;
  info.monitor_path = EscapeNonUtf8(slot.path);
  info.source = QmpSource(info.monitor_path);
  info.pid_namespace = context_->pid_namespace;
  info.socket = file.identity;
  return info;
}

void SocketConnector::ForgetSocket(QmpRun* run) {
  std::optional<InodeKey>& inode = run->sockets().attached_inode;
  if (!inode.has_value()) return;
  const auto it = by_socket_.find(*inode);
  // A later run may have been attached by a socket of that inode.
  if (it != by_socket_.end() && it->second == run) by_socket_.erase(it);
  inode.reset();
}

void SocketConnector::SetSocket(QmpRun* run, SocketSlot* slot, const SocketIdentity& socket,
                                uint32_t owner) {
  RunSockets& sockets = run->sockets();
  ForgetSocket(run);
  sockets.attached_inode = InodeOf(socket);
  by_socket_[*sockets.attached_inode] = run;
  sockets.attached_by = slot;
  sockets.owner = owner;
}

void SocketConnector::SetRun(SocketSlot* slot, QmpRun* run) {
  if (slot->run == run) return;
  if (slot->run != nullptr) {
    RunSockets& before = slot->run->sockets();
    before.ways.erase(std::find(before.ways.begin(), before.ways.end(), slot));
    if (before.attached_by == slot) before.attached_by = nullptr;
  }
  slot->run = run;
  if (run == nullptr) return;
  run->sockets().ways.push_back(slot);
  if (run->published()) ForgetProblem(slot);
}

QmpRun* SocketConnector::AddRun(SocketSlot* slot, uint32_t owner, std::unique_ptr<QmpRun> run) {
  QmpRun* const added = run.get();
  RunSockets& sockets = added->sockets();
  sockets.home = slot;
  sockets.owner = owner;
  ++slot->runs;
  table_->Add(this, std::move(run));
  return added;
}

void SocketConnector::EndUntrackedRun(SocketSlot* slot) {
  QmpRun* const run = slot->run;
  if (run != nullptr && !run->tracked() && !run->connected()) run->End();
}

// Reports of runs

void SocketConnector::OnMonitorReady(QmpRun* run, const std::string& uuid) {
  for (SocketSlot* way : run->sockets().ways) ForgetProblem(way);  // the run's status has more
  table_->SetUuid(run, uuid);
}

void SocketConnector::OnMonitorEnded(QmpRun* run, QmpRun::MonitorEnd end,
                                     absl::Duration answered_for) {
  const bool lost = end == QmpRun::MonitorEnd::kLost;
  const bool held = end == QmpRun::MonitorEnd::kHeld;
  const absl::Duration first = lost ? kFirstReconnect : held ? kFirstHeldRetry : kMaxRetry;
  const absl::Duration limit = lost || held ? kMaxRetry : kMaxRefusedRetry;
  bool leads_back = false;
  for (SocketSlot* way : run->sockets().ways) {
    if (run->published()) ForgetProblem(way);
    if (!way->present) continue;
    leads_back = true;
    if (answered_for >= kSteadyMonitor) way->backoff = absl::ZeroDuration();
    BackOff(way, first, limit);
    // Another way may be the one that greets.
    if (!lost && way == run->sockets().attached_by) Schedule(way, 2 * way->backoff);
  }
  // The process's end will be seen, if it is tracked.
  if (!leads_back && !run->tracked()) run->End();
}

void SocketConnector::OnNoVm(QmpRun* run, const Problem& problem) {
  SocketSlot* const slot = run->sockets().home;
  SetRun(slot, nullptr);
  run->Discard();
  if (!slot->present) return;
  // A launcher may have listened for a QEMU that was slow to start, or that another client had.
  slot->silent_until = context_->loop->Now().monotonic + kMaxRefusedRetry;
  BackOff(slot, kFirstReconnect, kMaxRefusedRetry);
  // A QEMU of another name is connected to again at once, by its process.
  if (SaysQemu(*slot)) return Schedule(slot, absl::ZeroDuration());
  ReportProblem(slot, problem);
}

bool SocketConnector::LeaveToOther(QmpRun* run, const PeerProcess& speaker) {
  VmRun* const other = table_->FindByProcess(speaker);
  if (other == nullptr) return false;
  SocketSlot* const slot = run->sockets().home;
  SetRun(slot, Own(other));
  run->Discard();
  if (slot->present) BackOff(slot, kFirstReconnect, kMaxRefusedRetry);
  return true;
}

void SocketConnector::OnOver(VmRun* run) {
  QmpRun* const own = Own(run);
  RunSockets& sockets = own->sockets();
  ForgetSocket(own);
  SocketSlot* const home = sockets.home;
  spdlog::debug("{} has ended", absl::CHexEscape(home->path));
  --home->runs;
  // One that begins and ends again and again is tried ever more seldom.
  const bool lasted =
      run->tracked() ||
      context_->loop->Now().monotonic - run->session().attached_at().monotonic >= kSteadyMonitor;
  for (SocketSlot* slot : sockets.ways) {
    slot->run = nullptr;
    slot->end_seen = slot->socket == own->info().socket;
  }
  for (SocketSlot* slot : sockets.ways) {
    // The file may stay, and be listened on once more.
    if (lasted) slot->backoff = absl::ZeroDuration();
    if (slot->present) BackOff(slot, kFirstReconnect, kMaxRefusedRetry);
    if (slot != home) DropSlotIfUnused(slot);
  }
  DropSlotIfUnused(home);
}

}  // namespace vmeventd
