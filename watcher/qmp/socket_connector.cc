#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/system.h"
#include "spdlog/spdlog.h"
#include "watcher/core/managers.h"
#include "watcher/core/names.h"
#include "watcher/core/specs.h"
#include "watcher/qmp/path_conflicts.h"
#include "watcher/qmp/qmp_source.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/process.h"
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

// A QEMU that ends may live beside the next one for as long as this.
constexpr absl::Duration kPathGrace = absl::Seconds(10);
constexpr absl::Duration kPathRecheck = absl::Seconds(10);  // while QEMUs share a path
constexpr absl::Duration kScanTime = absl::Seconds(5);      // limit of waiting for command lines
constexpr absl::Duration kScanPoll = absl::Milliseconds(100);

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
constexpr char kPathLost[] =
    "another QEMU has bound or removed the path of its monitor, and vmeventd cannot connect to it "
    "again: at its next start, give each VM a path of its own";
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

// The manager that needs the monitor at `path`, whatever links lead there; null: none.
const Manager* OwnerOfFile(const std::string& path) {
  const std::filesystem::path file(path);
  std::error_code error;
  const std::filesystem::path directory = std::filesystem::canonical(file.parent_path(), error);
  return error ? nullptr : OwnerOfPath((directory / file.filename()).string());
}

// Returns whether the command line of who listens there has been read, and is a QEMU's.
bool SaysQemu(const SocketSlot& slot) {
  if (!slot.listener.has_value()) return false;
  const CommandLines::Read& read = *slot.listener->command_line;
  return read.done() && read.found() != nullptr;
}

}  // namespace

SocketConnector::SocketConnector(RunContext* context, RunTable* table)
    : context_(context), table_(table), watches_(context->options->watches) {
  for (int spec = -1; spec < static_cast<int>(watches_.size()); ++spec) {
    threads_.push_back(std::make_unique<DirectoryThread>(
        context->loop, context->options->directory_patience, [this, spec] { OnHangChange(spec); }));
  }
  attempts_.resize(threads_.size());
}

absl::StatusOr<std::unique_ptr<SocketConnector>> SocketConnector::Create(RunContext* context,
                                                                         RunTable* table) {
  std::unique_ptr<SocketConnector> connector(new SocketConnector(context, table));
  std::vector<DirectoryThread*> threads;
  for (size_t spec = 0; spec < connector->watches_.size(); ++spec) {
    threads.push_back(connector->ThreadOf(static_cast<int>(spec)));
  }
  absl::StatusOr<std::unique_ptr<DirectoryWatcher>> directories = DirectoryWatcher::Create(
      context->loop, context->options->watches, std::move(threads), connector.get());
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
  QmpRun* const run = AddRun(slot, kUnknownOwner,
                             std::make_unique<QmpRun>(context_, table_, this, std::move(*session)));
  SetRun(slot, run);
  SetSocket(run, slot, {socket, kUnknownOwner});
  return run;
}

void SocketConnector::Start() {
  EndLostRuns(-1);
  directories_->Start();
  CheckFirstScan();
}

void SocketConnector::OnRead(int spec) {
  // Timers fire in their order: this one after those that try the sockets that are there.
  context_->loop->AddTimer(context_->loop->Now().monotonic, [this, spec] {
    attempts_[static_cast<size_t>(spec + 1)].tried = true;
    CheckFirstScan();
  });
  EndLostRuns(spec);
}

void SocketConnector::EndLostRuns(int spec) {
  for (VmRun* run : table_->RunsOf(this)) {
    const RunSockets& sockets = Own(run)->sockets();
    if (sockets.home->spec != spec || run->tracked() || run->connected() ||
        std::any_of(sockets.ways.begin(), sockets.ways.end(),
                    [](const SocketSlot* way) { return way->present; })) {
      continue;
    }
    if (sockets.home->run == run && spec >= 0) {
      TryConnect(sockets.home);  // its directory may not have been read: no descriptor was left
    } else {
      run->End();
    }
  }
}

void SocketConnector::CheckFirstScan() {
  for (size_t spec = 0; spec < watches_.size(); ++spec) {
    const Attempts& attempts = attempts_[spec + 1];
    if (threads_[spec + 1]->hangs()) continue;
    if (!attempts.tried || attempts.under_way > 0) return;
  }
  first_scan_done_ = true;
}

void SocketConnector::OnHangChange(int spec) {
  if (spec >= 0) directories_->OnHangChange(spec);
  const bool hangs = ThreadOf(spec)->hangs();
  for (VmRun* run : table_->RunsOf(this)) {
    if (Own(run)->sockets().home->spec == spec) run->Hand(input::DirectoryHangs{hangs});
  }
  if (!first_scan_done_) CheckFirstScan();
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

void SocketConnector::OnSocket(int spec, const std::string& below, const SeenSocket& socket) {
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
  spdlog::warn("not following {}: {}", absl::CHexEscape(slot->path), problem.text);
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
  for (const auto& [pid, socket] : hidden_) {
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

const char* SocketConnector::Shortage(const SocketSlot& slot, const SeenSocket& seen) const {
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

// One that was restored may still lack the descriptor of its process, and one without a process
// that of who will speak.
int SocketConnector::DescriptorsFor(const SocketSlot& slot) const {
  const bool has_process =
      slot.run != nullptr &&
      (slot.run->followed() || (!slot.run->tracked() && !slot.run->awaits_sender()));
  return has_process ? 1 : kDescriptorsOfRun;
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

void SocketConnector::BeginAttempt(SocketSlot* slot, int descriptors,
                                   std::function<WithSlot()> work) {
  const int spec = slot->spec;
  slot->attempt = ++last_attempt_;
  context_->vm_descriptors += descriptors;
  ++attempts_[static_cast<size_t>(spec + 1)].under_way;
  ThreadOf(spec)->Run(
      [this, path = slot->path, attempt = slot->attempt, spec, descriptors,
       work = std::move(work)]() -> DirectoryThread::Then {
        return [this, path, attempt, spec, descriptors, then = work()]() mutable {
          context_->vm_descriptors -= descriptors;
          if (SocketSlot* const there = EndAttempt(path, attempt, spec)) then(there);
        };
      },
      [this, path = slot->path, attempt = slot->attempt, spec, descriptors] {
        context_->vm_descriptors -= descriptors;
        EndAttempt(path, attempt, spec);  // its directory is read once it answers
      });
}

SocketSlot* SocketConnector::EndAttempt(const std::string& path, uint64_t attempt, int spec) {
  --attempts_[static_cast<size_t>(spec + 1)].under_way;
  if (!first_scan_done_) {
    // The attempt may go on.
    context_->loop->AddTimer(context_->loop->Now().monotonic, [this] { CheckFirstScan(); });
  }
  const auto it = slots_.find(path);
  if (it == slots_.end() || it->second->attempt != attempt) return nullptr;
  SocketSlot* const slot = it->second.get();
  slot->attempt = 0;
  if (std::exchange(slot->try_again, false)) Schedule(slot, absl::ZeroDuration());
  return slot;
}

void SocketConnector::TryConnect(SocketSlot* slot) {
  if (slot->run != nullptr && slot->run->connected()) return;
  if (slot->attempt != 0) {
    slot->try_again = true;
    return;
  }
  const bool finds_owner = slot->run == nullptr && !context_->options->watch_manager_sockets;
  BeginAttempt(slot, 0, [this, path = slot->path, finds_owner]() -> WithSlot {
    SeenSocket seen;
    const int error = LookAtSocket(path, &seen);
    const Manager* const owner = error == 0 && finds_owner ? OwnerOfFile(path) : nullptr;
    return [this, error, seen, owner](SocketSlot* there) { OnSeen(there, error, seen, owner); };
  });
}

void SocketConnector::OnSeen(SocketSlot* slot, int error, const SeenSocket& seen,
                             const Manager* owner) {
  if (slot->run != nullptr && slot->run->connected()) return;
  if (error != 0) return OnNotConnected(slot, error);
  LeaveReplacedRun(slot, seen.identity);
  if (IsUnused(*slot)) return;
  if (!(slot->socket == seen.identity)) {
    slot->silent_until = absl::ZeroDuration();
    slot->end_seen = false;
    slot->runs_no_vm = false;
  }
  slot->socket = seen.identity;
  if (slot->runs_no_vm) return;
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
    context_->meters.connects_put_off.Add();
    return OnNotConnected(slot, EMFILE);
  }
  // Those of attempts under way count, so that no two take the last ones.
  BeginAttempt(slot, DescriptorsFor(*slot), [this, path = slot->path, seen]() -> WithSlot {
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

void SocketConnector::LeaveToManager(SocketSlot* slot, const Manager& owner) {
  ReportProblem(slot, {ProblemCode::kManagersOwn, absl::StrCat("this monitor ", Refusal(owner))});
  BackOff(slot, kMaxRefusedRetry, kMaxRefusedRetry);
}

bool SocketConnector::MayConnect(SocketSlot* slot, const Manager* owner) {
  const bool takes_all = context_->options->watch_manager_sockets;
  if (slot->run == nullptr && owner != nullptr) {
    LeaveToManager(slot, *owner);
    return false;
  }
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
    if (const Manager* const named = *found; named != nullptr && !takes_all) {
      LeaveToManager(slot, *named);
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
    case ESTALE:                     // it was replaced between the look and the connect
      return BackOff(slot, kFirstRetry, kMaxRetry);
    case ECONNREFUSED:
      context_->meters.connect_retries.Add();
      EndUntrackedRun(slot);
      if (IsUnused(*slot)) return;
      BackOff(slot, kFirstRetry, slot->run != nullptr ? kMaxRetry : kMaxRefusedRetry);
      if (slot->runs > 0) return;  // their VMs have the problem
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

void SocketConnector::Attach(SocketSlot* slot, const SeenSocket& seen, ReceivingSocket socket) {
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
  QmpRun* const run = RunFor(slot, seen, std::move(peer));
  if (run == nullptr) return;
  SetRun(slot, run);
  // Another way to the same run: its monitor is connected already.
  const RunSockets& sockets = run->sockets();
  if (run->connected() && slot != sockets.attached_by && slot != sockets.home) return;
  if (const absl::Status status = run->Attach(std::move(socket), seen.identity); !status.ok()) {
    BackOff(slot, kFirstRetry, kMaxRetry);
    return ReportProblem(slot, CannotConnect(status.message()));
  }
  SetSocket(run, slot, seen);
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

QmpRun* SocketConnector::RunFor(SocketSlot* slot, const SeenSocket& seen, PeerProcess peer) {
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
      ReportProblem(slot, CannotConnect(status.message()));
      return nullptr;
    }
  }
  return AddRun(slot, seen.owner, std::move(run));
}

// A run that is found by its process has that in its id. A launcher may listen at one path for one
// QEMU after the other, so that without a process the time of the first sight counts.
RunInfo SocketConnector::Describe(const SocketSlot& slot, const SeenSocket& seen,
                                  const PeerProcess& peer) {
  RunInfo info;
  info.process_tracked = peer.kind == PeerProcess::Kind::kTracked;
  if (info.process_tracked) info.SetProcess(DescribeProcess(peer, context_->oom_counters));
  info.run_id = context_->NewRunId(info, slot.path, seen.identity.inode);
  info.raw_name = RawVmName(slot);
  info.name = EscapeName(info.raw_name);
  info.raw_path = slot.path;
  info.monitor_path = EscapeNonUtf8(slot.path);
  info.source = QmpSource(info.monitor_path);
  info.pid_namespace = context_->pid_namespace;
  info.socket = seen.identity;
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

void SocketConnector::SetSocket(QmpRun* run, SocketSlot* slot, const SeenSocket& seen) {
  RunSockets& sockets = run->sockets();
  ForgetSocket(run);
  sockets.attached_inode = InodeOf(seen.identity);
  by_socket_[*sockets.attached_inode] = run;
  sockets.attached_by = slot;
  sockets.owner = seen.owner;
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
  CheckPathsIn(kPathGrace);
  return added;
}

void SocketConnector::EndUntrackedRun(SocketSlot* slot) {
  QmpRun* const run = slot->run;
  if (run != nullptr && !run->tracked() && !run->connected()) run->End();
}

// Shared paths

void SocketConnector::CheckPathsIn(absl::Duration delay) {
  const absl::Duration at = context_->loop->Now().monotonic + delay;
  if (at >= path_check_at_) return;
  path_check_at_ = at;
  context_->loop->SetTimer(&path_check_, at, [this] { CheckPaths(); });
}

void SocketConnector::CheckPaths() {
  path_check_at_ = absl::InfiniteDuration();
  const absl::Duration now = context_->loop->Now().monotonic;
  if (qemus_ == nullptr && context_->options->command_lines != nullptr) {
    qemus_ = context_->options->command_lines->BeginMonitors();
    qemus_due_ = now + kScanTime;
  }
  if (qemus_ != nullptr && !qemus_->done() && now < qemus_due_) return CheckPathsIn(kScanPoll);
  const std::shared_ptr<const CommandLines::Monitors> found = std::exchange(qemus_, nullptr);
  ReportPathConflicts(found == nullptr ? std::vector<CommandLines::Monitors::Qemu>()
                                       : found->Qemus());
}

void SocketConnector::ReportPathConflicts(const std::vector<CommandLines::Monitors::Qemu>& qemus) {
  const auto leads_back = [](QmpRun* run) {
    const RunSockets& sockets = run->sockets();
    return std::any_of(sockets.ways.begin(), sockets.ways.end(),
                       [](const SocketSlot* way) { return way->present; });
  };
  std::vector<QmpRun*> runs;
  std::vector<FollowedVm> vms;
  for (VmRun* const one : table_->RunsOf(this)) {
    const VmSession& session = one->session();
    // A VM that ends, or comes from another QEMU of this node, shares a path for a while.
    if (!one->published() || one->process_ended() || session.decided() || session.incoming()) {
      continue;
    }
    const RunInfo& info = one->info();
    runs.push_back(Own(one));
    vms.push_back({.name = info.raw_name,
                   .path = info.monitor_path,
                   .pid = info.pid,
                   .socket = InodeOf(info.socket),
                   .at_path = leads_back(runs.back())});
  }
  PathConflicts conflicts = FindPathConflicts(vms, qemus);
  // To look whether a process is about to end costs more: it is done where it counts.
  const size_t before = runs.size();
  for (size_t i = before; i-- > 0;) {
    if (conflicts.of_vms[i].empty() || vms[i].pid == 0 || !IsDying(vms[i].pid)) continue;
    runs.erase(runs.begin() + static_cast<std::ptrdiff_t>(i));
    vms.erase(vms.begin() + static_cast<std::ptrdiff_t>(i));
  }
  if (runs.size() < before) conflicts = FindPathConflicts(vms, qemus);
  has_path_conflicts_ = !conflicts.hidden.empty();
  for (size_t i = 0; i < runs.size(); ++i) {
    has_path_conflicts_ |= !conflicts.of_vms[i].empty();
    SetPathProblem(runs[i], conflicts.of_vms[i].empty() && !leads_back(runs[i])
                                ? (runs[i]->session().shares_path() ? kPathLost : "")
                                : conflicts.of_vms[i]);
  }
  const MutexLock lock(&mutex_);
  std::map<int64_t, v1::UnfollowedSocket> before_now = std::exchange(hidden_, {});
  for (const PathConflicts::Hidden& one : conflicts.hidden) {
    v1::UnfollowedSocket& listed = hidden_[one.pid];
    if (const auto known = before_now.find(one.pid); known != before_now.end()) {
      *listed.mutable_since() = known->second.since();
    } else {
      *listed.mutable_since() = ToTimestamp(context_->loop->Now().wall);
      spdlog::warn("{} (pid {}) is not followed: {}", one.name, one.pid, one.problem);
    }
    listed.set_path(runs[one.holder]->info().monitor_path);
    listed.set_name(one.name);
    *listed.mutable_problem() = ToProto(Problem{ProblemCode::kPathShared, one.problem});
  }
  if (has_path_conflicts_) CheckPathsIn(kPathRecheck);
}

void SocketConnector::SetPathProblem(QmpRun* run, const std::string& problem) {
  const bool had = run->session().shares_path();
  if (!had && problem.empty()) return;
  if (!had) spdlog::warn("{}: {}", absl::Utf8SafeCHexEscape(run->info().name), problem);
  run->Hand(input::SharedPath{problem});
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
  if (problem.code == ProblemCode::kNotAVm) {
    slot->runs_no_vm = true;
    return ReportProblem(slot, problem);
  }
  // A launcher may have listened for a QEMU that was slow to start, or that another client had.
  slot->silent_until = context_->loop->Now().monotonic + kMaxRefusedRetry;
  BackOff(slot, kFirstReconnect, kMaxRefusedRetry);
  // A QEMU of another name is connected to again at once, by its process.
  if (SaysQemu(*slot)) return Schedule(slot, absl::ZeroDuration());
  ReportProblem(slot, problem);
}

bool SocketConnector::IsNamedAfterAnother(const QmpRun& run, absl::string_view qemu_name) const {
  constexpr size_t kMaxName = 200;
  const SocketSlot* const home = run.sockets().home;
  if (home->runs < 2 || qemu_name.empty() || qemu_name.size() > kMaxName ||
      absl::StrContains(qemu_name, '/') || qemu_name == run.info().raw_name) {
    return false;
  }
  const std::vector<VmRun*> runs = table_->RunsOf(this);
  return std::any_of(runs.begin(), runs.end(), [&](VmRun* one) {
    const QmpRun& other = *Own(one);
    // The QEMU before this one may still end.
    return &other != &run && other.sockets().home == home && other.published() &&
           !other.process_ended() && !other.session().decided() &&
           (other.info().pid == 0 || !IsDying(other.info().pid));
  });
}

bool SocketConnector::LeaveToOther(QmpRun* run, const PeerProcess& sender) {
  VmRun* const other = table_->FindByProcess(sender);
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
  if (has_path_conflicts_ || home->runs > 0) CheckPathsIn(absl::ZeroDuration());
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
