#include "watcher/qmp/socket_connector.h"

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
#include "watcher/core/names.h"
#include "watcher/core/specs.h"
#include "watcher/runs/command_lines.h"

// Slots and connections; socket_runs.cc has the runs behind them.

namespace vmeventd {
namespace {

constexpr char kQueueFull[] =
    "monitor held by another client, or QEMU hangs: the socket's queue of connections is full";
constexpr char kRefusedProblem[] =
    "nobody listens on the socket: a QEMU that ended has left it, or one is about to start; delete "
    "it if none is";
constexpr char kOutOfShare[] =
    "the VMs of this socket's user have three quarters of the file descriptors: the VM is not "
    "followed; raise LimitNOFILE of the service";

constexpr char kNoMonitor[] =
    "no running QEMU's command line names this socket as a QMP monitor: a QEMU that ended has left "
    "it, or it is another program's, and vmeventd leaves it alone; a monitor that no command line "
    "names must be called NAME.qmp";

// Returns whether the command line of who listens there has been read, and is a QEMU's.
bool SaysQemu(const SocketSlot& slot) {
  if (!slot.listener.has_value()) return false;
  const CommandLines::Read& read = *slot.listener->command_line;
  return read.done() && read.found() != nullptr;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SocketConnector>> SocketConnector::Create(QmpContext* context,
                                                                         RunTable* table,
                                                                         EventSink* sink) {
  std::unique_ptr<SocketConnector> connector(new SocketConnector(context, table, sink));
  absl::StatusOr<std::unique_ptr<DirectoryWatcher>> directories =
      DirectoryWatcher::Create(context->loop, context->options->watches, connector.get());
  if (!directories.ok()) return directories.status();
  connector->directories_ = *std::move(directories);
  return connector;
}

SocketConnector::SocketConnector(QmpContext* context, RunTable* table, EventSink* sink)
    : context_(context), table_(table), sink_(sink), watches_(context->options->watches) {
  for (const EndedRun& run : context->options->ended_runs) NoteUsedId(run.run_id);
}

void SocketConnector::Start() {
  directories_->Start();
  started_ = true;
  EndUnreachableRuns();
}

void SocketConnector::EndTurn() {
  context_->closed_connections.clear();
  dropped_slots_.clear();
  if (started_ && untried_slots_ == 0) first_scan_done_ = true;
}

// Slots

std::string SocketConnector::RawVmName(const SocketSlot& slot) const {
  return watches_[slot.spec].VmName(slot.path).value_or(std::string(slot.path));
}

int SocketConnector::SpecOf(absl::string_view path) const {
  for (int spec = 0; spec < static_cast<int>(watches_.size()); ++spec) {
    if (watches_[spec].VmName(path).has_value()) return spec;
  }
  return -1;
}

SocketSlot* SocketConnector::SlotAt(const std::string& path) {
  const auto it = slots_.find(path);
  if (it != slots_.end()) return it->get();
  auto made = std::make_unique<SocketSlot>();
  made->path = path;
  return slots_.insert(std::move(made)).first->get();
}

void SocketConnector::ForgetUntried(SocketSlot* slot) {
  if (std::exchange(slot->untried, false)) --untried_slots_;
}

void SocketConnector::OnSocket(int spec, const std::string& below) {
  SocketSlot* const slot = SlotAt(std::string(watches_[spec].PathOf(below)));
  if (slot->spec < 0) slot->spec = spec;
  const bool is_new = !std::exchange(slot->present, true);
  if (slot->run != nullptr && slot->run->connected()) {
    SocketIdentity socket;
    if (IdentifySocket(slot->path, &socket) != 0) return;  // its removal will be reported
    LeaveReplacedRun(slot, socket);
    if (slot->run != nullptr) return;
  }
  if (!first_scan_done_ && is_new && !std::exchange(slot->untried, true)) ++untried_slots_;
  slot->backoff = absl::ZeroDuration();
  Schedule(slot, absl::ZeroDuration());
}

void SocketConnector::OnSocketGone(int spec, const std::string& below) {
  const auto it = slots_.find(watches_[spec].PathOf(below));
  if (it == slots_.end()) return;
  SocketSlot* const slot = it->get();
  slot->present = false;
  ForgetUntried(slot);
  context_->loop->CancelTimer(&slot->retry);
  ScheduleAll(claims_.Release(slot));
  ForgetProblem(slot);
  EndUntrackedRun(slot);
  DropSlotIfUnused(slot);
}

void SocketConnector::OnDirectories(std::vector<WatchedDirectory> directories) {
  sink_->SetDirectories(std::move(directories));
  if (runs_to_reach_) EndUnreachableRuns();
}

void SocketConnector::DropSlotIfUnused(SocketSlot* slot) {
  if (slot->present || slot->runs > 0) return;
  SetRun(slot, nullptr);
  ForgetUntried(slot);
  context_->loop->CancelTimer(&slot->retry);
  ScheduleAll(claims_.Release(slot));
  const auto it = slots_.find(slot->path);
  if (it == slots_.end() || it->get() != slot) return;  // dropped already
  dropped_slots_.push_back(std::move(slots_.extract(it).value()));
}

void SocketConnector::ClaimInode(SocketSlot* slot, const SocketIdentity& socket) {
  ScheduleAll(claims_.Claim(InodeOf(socket), slot));
}

void SocketConnector::ReportProblem(SocketSlot* slot, const std::string& problem) {
  if (slot->run != nullptr) return slot->run->ReportProblem(problem);
  if (slot->problem == problem) return;
  slot->problem = problem;
  spdlog::warn("{}: {}", absl::CHexEscape(slot->path), problem);
  UnfollowedSocket listed{.path = EscapeNonUtf8(slot->path),
                          .name = EscapeName(RawVmName(*slot)),
                          .problem = problem,
                          .since = context_->loop->Now().wall};
  const MutexLock lock(&mutex_);
  const auto [it, is_new] = unfollowed_.try_emplace(std::string(slot->path));
  if (!is_new) listed.since = it->second.since;
  it->second = std::move(listed);
}

void SocketConnector::ForgetProblem(SocketSlot* slot) {
  if (slot->problem.empty()) return;
  slot->problem.clear();
  const MutexLock lock(&mutex_);
  unfollowed_.erase(std::string(slot->path));
}

std::vector<UnfollowedSocket> SocketConnector::unfollowed_sockets() const {
  constexpr size_t kMaxListed = 1000;
  std::vector<UnfollowedSocket> sockets;
  const MutexLock lock(&mutex_);
  for (const auto& [path, socket] : unfollowed_) {
    if (sockets.size() == kMaxListed) break;
    sockets.push_back(socket);
  }
  return sockets;
}

// Connecting

void SocketConnector::Schedule(SocketSlot* slot, absl::Duration delay) {
  context_->loop->CancelTimer(&slot->retry);
  slot->retry = context_->loop->AddTimer(context_->loop->Now().monotonic + delay, [this, slot] {
    slot->retry = {};
    TryConnect(slot);
  });
}

void SocketConnector::ScheduleAll(const std::vector<SocketSlot*>& slots) {
  for (SocketSlot* slot : slots) Schedule(slot, absl::ZeroDuration());
}

void SocketConnector::BackOff(SocketSlot* slot, absl::Duration first, absl::Duration limit) {
  slot->backoff = NextPause(slot->backoff, first, limit);
  Schedule(slot, slot->backoff);
}

bool SocketConnector::TriedForLong(const SocketSlot& slot) const {
  return slot.backoff >= std::min(context_->options->greeting_timeout, kMaxRetry);
}

const char* SocketConnector::Shortage(const SocketSlot& slot, const SocketFile& file) const {
  const auto runs = runs_of_.find(file.owner);
  const int others = runs == runs_of_.end() ? 0 : runs->second;
  // A run counts for its user already.
  if (slot.run == nullptr && (others + 1) * kDescriptorsOfRun >
                                 context_->max_vm_descriptors - context_->max_vm_descriptors / 4) {
    return kOutOfShare;
  }
  // One that was restored may still lack the descriptor of its process, and one whose listener has
  // left that of who will speak.
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
  ReportProblem(slot, shortage);
}

void SocketConnector::LeaveReplacedRun(SocketSlot* slot, const SocketIdentity& socket) {
  if (slot->run == nullptr || IsSocketOf(*slot->run, *slot, socket)) return;
  EndUntrackedRun(slot);
  SetRun(slot, nullptr);
}

void SocketConnector::TryConnect(SocketSlot* slot) {
  ForgetUntried(slot);
  if (slot->run != nullptr && slot->run->connected()) return;
  SocketFile file;
  const int not_opened = OpenSocketFile(slot->path, &file);
  // To look at the socket takes no descriptor.
  if (not_opened == 0 || IdentifySocket(slot->path, &file.identity) == 0) {
    LeaveReplacedRun(slot, file.identity);
  }
  if (not_opened != 0) return OnNotConnected(slot, not_opened);
  ClaimInode(slot, file.identity);
  if (!slot->claims_inode) return EndUntrackedRun(slot);
  if (QmpRun* const run = RunAttachedBy(file.identity); run != nullptr) {
    return SetRun(slot, run);  // the socket was renamed
  }

  if (!MayConnect(slot, file.identity)) return;

  if (const char* const shortage = Shortage(*slot, file); shortage != nullptr) {
    return AwaitDescriptors(slot, shortage);
  }
  ReceivingSocket socket;
  if (const int error = Connect(file, &socket); error != 0) return OnNotConnected(slot, error);
  Attach(slot, file, std::move(socket));
}

bool SocketConnector::MayConnect(SocketSlot* slot, const SocketIdentity& socket) {
  CommandLines* const command_lines = context_->options->command_lines.get();
  if (slot->silent.has_value() && !(*slot->silent == socket)) slot->silent.reset();
  const bool foreign = IsSilent(*slot) && slot->listener.has_value() && !SaysQemu(*slot);
  if (slot->run != nullptr || command_lines == nullptr ||
      (watches_[slot->spec].names_monitors() && !foreign)) {
    return true;
  }
  if (slot->monitors == nullptr) slot->monitors = command_lines->BeginMonitors();
  if (slot->monitors->Has(InodeOf(socket))) {
    slot->monitors = nullptr;
    slot->silent.reset();
    return true;
  }
  const bool done = slot->monitors->done();
  if (done) slot->monitors = nullptr;  // another one finds a QEMU that began meanwhile
  // A QEMU begins before it binds its socket, but its command line may not have been readable then.
  if (done && TriedForLong(*slot)) ReportProblem(slot, kNoMonitor);
  BackOff(slot, kFirstRetry, done ? kMaxRefusedRetry : kMaxRetry);
  return false;
}

void SocketConnector::OnNotConnected(SocketSlot* slot, int error) {
  OnNotConnected(slot, ConnectOutcomeOf(error), std::generic_category().message(error));
}

void SocketConnector::OnNotConnected(SocketSlot* slot, ConnectOutcome outcome,
                                     absl::string_view why) {
  switch (outcome) {
    case ConnectOutcome::kConnected:
      return;
    case ConnectOutcome::kNoSocket:
      return EndUntrackedRun(slot);  // inotify reports what comes in its place
    case ConnectOutcome::kRefused:
      context_->meters.connect_retries.Add();
      EndUntrackedRun(slot);
      BackOff(slot, kFirstRetry, slot->run != nullptr ? kMaxRetry : kMaxRefusedRetry);
      if (slot->run != nullptr) return;  // its VM says so
      // Not at once: one that a QEMU binds refuses, too.
      return TriedForLong(*slot) ? ReportProblem(slot, kRefusedProblem) : ForgetProblem(slot);
    case ConnectOutcome::kQueueFull:
      context_->meters.connect_retries.Add();
      BackOff(slot, kFirstRetry, kMaxRetry);
      if (TriedForLong(*slot)) ReportProblem(slot, kQueueFull);
      return;
    case ConnectOutcome::kOutOfDescriptors:
      return AwaitDescriptors(slot, kOutOfDescriptorsProblem);
    case ConnectOutcome::kFailed:
      BackOff(slot, kFirstRetry, kMaxRetry);
      return ReportProblem(slot, absl::StrCat("cannot connect to the monitor: ", why));
  }
}

int SocketConnector::Connect(const SocketFile& file, ReceivingSocket* connection) const {
  if (context_->closer.full()) {
    context_->meters.connects_put_off.Add();
    return EMFILE;
  }
  UniqueFd socket;
  const int error = ConnectTo(file, &socket);
  if (error == 0) *connection = ReceivingSocket(std::move(socket), &context_->closer);
  return error;
}

void SocketConnector::Attach(SocketSlot* slot, const SocketFile& file, ReceivingSocket socket) {
  PeerProcess peer;
  if (context_->options->process_tracking) {
    absl::StatusOr<PeerProcess> identified = IdentifyPeer(socket.get());
    if (absl::IsResourceExhausted(identified.status())) {
      return OnNotConnected(slot, ConnectOutcome::kOutOfDescriptors);
    }
    if (!identified.ok()) {
      BackOff(slot, kFirstRetry, kMaxRetry);
      return ReportProblem(slot, absl::StrCat("cannot identify the process behind the monitor: ",
                                              identified.status().message()));
    }
    peer = *std::move(identified);
  }
  const bool listener_gone = peer.kind == PeerProcess::Kind::kGone;
  if (listener_gone) {
    if (slot->run != nullptr && slot->run->process_ended()) {
      // Mostly a QEMU that ended in this moment; else a child of it that still has the socket.
      BackOff(slot, kFirstRetry, kMaxRetry);
      return ReportListenerGone(slot);
    }
    peer = PeerProcess();
  } else if (peer.pid != 0 && !IsQemuAt(slot, peer)) {
    // A launcher, which may listen for many: who speaks will show which VM it is.
    peer = PeerProcess();
  }
  QmpRun* const run = FindOrMakeRun(slot, file, std::move(peer));
  if (run == nullptr) return;
  SetRun(slot, run);
  if (listener_gone) run->ExpectSpeaker();
  // Another way to the same run: its monitor is ours already.
  const RunSockets& sockets = SocketsOf(run);
  if (run->connected() && slot != sockets.attached_by && slot != sockets.home) return;
  if (const absl::Status status = run->Attach(std::move(socket), file); !status.ok()) {
    return OnNotConnected(slot, ConnectOutcome::kFailed, status.message());
  }
  NoteSocket(run, slot, file);
  context_->loop->CancelTimer(&slot->retry);  // what the end of the connection before may have left
}

bool SocketConnector::IsQemuAt(SocketSlot* slot, const PeerProcess& peer) const {
  if (HasNameOfQemu(peer.pid)) {
    slot->listener.reset();
    return true;
  }
  CommandLines* const command_lines = context_->options->command_lines.get();
  if (command_lines == nullptr || peer.kind != PeerProcess::Kind::kTracked) return false;
  const ProcessId listener{.pid = peer.pid, .start_ticks = peer.start_ticks};
  const SocketSlot::ListeningProcess* const known = slot->listener.get();
  const bool begun = known != nullptr && known->process == listener;
  if (!begun || (known->command_line->done() && known->command_line->out_of_descriptors())) {
    std::shared_ptr<const CommandLines::Read> read = command_lines->Begin(peer.pid);
    slot->listener.reset();
    if (read != nullptr) slot->listener = SocketSlot::ListeningProcess{listener, std::move(read)};
  }
  return SaysQemu(*slot);
}

bool SocketConnector::ListensAsQemu(const QmpRun* run) const {
  const SocketSlot* const slot = SocketsOf(run).attached_by;
  return slot != nullptr && SaysQemu(*slot);
}

QmpRun::Connector::Silent SocketConnector::NoteSilent(QmpRun* run) {
  const RunSockets& sockets = SocketsOf(run);
  SocketSlot* const slot = sockets.attached_by;
  if (slot == nullptr) return Silent::kOnlyOne;
  slot->silent = run->info().socket;
  if (slot->listener.has_value() && !SaysQemu(*slot)) return Silent::kForeign;
  const bool has_other =
      std::any_of(sockets.ways.begin(), sockets.ways.end(),
                  [](const SocketSlot* way) { return way->present && !IsSilent(*way); });
  return has_other ? Silent::kOneOfSeveral : Silent::kOnlyOne;
}

void SocketConnector::ReportListenerGone(SocketSlot* slot) {
  if (!TriedForLong(*slot)) return;
  ReportProblem(slot,
                "the process that listened on the monitor's socket is gone, and the socket still "
                "accepts");
}

void SocketConnector::OnMonitorEnded(QmpRun* run, QmpRun::MonitorEnd end,
                                     absl::Duration answered_for) {
  RunSockets& sockets = SocketsOf(run);
  const auto is_present = [](const SocketSlot* way) { return way->present; };
  // No way leads back to its monitor. The process's end will be seen, if it is tracked.
  if (std::none_of(sockets.ways.begin(), sockets.ways.end(), is_present)) {
    if (!run->tracked()) run->End();
    return;
  }
  const bool lost = end == QmpRun::MonitorEnd::kLost;
  const bool held = end == QmpRun::MonitorEnd::kHeld;
  const absl::Duration first = lost ? kFirstReconnect : held ? kFirstHeldRetry : kMaxRetry;
  const absl::Duration limit = lost || held ? kMaxRetry : kMaxRefusedRetry;
  for (SocketSlot* way : sockets.ways) {
    if (answered_for >= kSteadyMonitor) way->backoff = absl::ZeroDuration();
    if (way->present && lost) BackOff(way, first, limit);
  }
  if (lost) return;
  // The next way may be the one that greets. The others follow, in case that it cannot be tried.
  auto* const tried = std::find(sockets.ways.begin(), sockets.ways.end(), sockets.attached_by);
  if (tried != sockets.ways.end()) {
    (*tried)->backoff = NextPause((*tried)->backoff, first, limit);
    std::rotate(tried, tried + 1, sockets.ways.end());
  }
  SocketSlot* const next = *std::find_if(sockets.ways.begin(), sockets.ways.end(), is_present);
  Schedule(next, next->backoff);
  for (SocketSlot* way : sockets.ways) {
    if (way != next && way->present) Schedule(way, next->backoff + limit);
  }
}

}  // namespace vmeventd
