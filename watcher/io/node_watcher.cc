#include "watcher/io/node_watcher.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "spdlog/spdlog.h"
#include "watcher/core/names.h"
#include "watcher/io/directory_watcher.h"
#include "watcher/io/event_loop.h"
#include "watcher/io/inode_claims.h"
#include "watcher/io/monitor_connection.h"
#include "watcher/io/process.h"
#include "watcher/io/socket_slot.h"
#include "watcher/io/uuid_index.h"
#include "watcher/io/vm_run.h"

namespace vmeventd {
namespace {

constexpr size_t kReadBufferBytes = 64 << 10;

constexpr absl::Duration kFirstRetry = absl::Milliseconds(1);
constexpr absl::Duration kMaxRetry = absl::Seconds(5);
// A socket file that a killed QEMU left refuses for ever.
constexpr absl::Duration kMaxRefusedRetry = absl::Seconds(60);
// After the end of a monitor that worked: mostly its process is about to go.
constexpr absl::Duration kFirstReconnect = absl::Milliseconds(100);
constexpr absl::Duration kFirstHeldRetry = absl::Seconds(1);
// A monitor that answered for so long has earned a quick reconnect.
constexpr absl::Duration kSteadyMonitor = absl::Seconds(10);

constexpr char kOutOfDescriptors[] =
    "out of file descriptors: the VM is not followed; raise LimitNOFILE of the service";
constexpr char kQueueFull[] =
    "monitor held by another client: the socket's queue of connections is full";
constexpr char kListenerGone[] =
    "the process that listened on the monitor's socket is gone, and the socket still accepts";

bool IsOutOfDescriptors(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

std::string ForLog(absl::string_view raw) { return absl::CHexEscape(raw); }

// A run, and what the watcher knows of it beyond its session.
struct FollowedRun {
  std::unique_ptr<VmRun> run;
  SocketSlot* slot = nullptr;  // where it was found
  std::optional<Uuid> uuid;
};

class NodeWatcherImpl : public NodeWatcher, public DirectoryWatcher::Delegate, public VmRun::Owner {
 public:
  NodeWatcherImpl(WatcherOptions options, EventSink* sink, std::unique_ptr<EventLoop> loop);
  absl::Status WatchDirectories();

  void RunOnce(absl::Duration timeout) override;
  void Wake() override { loop_->Wake(); }
  bool first_scan_done() const override { return first_scan_done_; }
  WatcherCounters counters() const override;

 private:
  void OnSocket(int spec, const std::string& file_name) override;
  void OnSocketGone(int spec, const std::string& file_name) override;
  void OnDirectories(std::vector<WatchedDirectory> directories) override;

  void OnPublish(VmRun* run, VmUpdate update) override;
  void OnMonitorReady(VmRun* run, const std::string& uuid) override;
  void OnMonitorEnded(VmRun* run, VmRun::MonitorEnd end, absl::Duration answered_for) override;
  void OnOver(VmRun* run) override;

  std::string PathOf(int spec, const std::string& file_name) const;
  void DropSlotIfUnused(SocketSlot* slot);
  std::string RawVmName(const SocketSlot& slot) const;

  void Schedule(SocketSlot* slot, absl::Duration delay);
  void ScheduleAll(const std::vector<SocketSlot*>& slots);
  // Schedules with twice the last wait, at least `first` and at most `limit`.
  void BackOff(SocketSlot* slot, absl::Duration first, absl::Duration limit);
  void TryConnect(SocketSlot* slot);
  void OnConnectError(SocketSlot* slot, int error);
  void Attach(SocketSlot* slot, const SocketFile& file, UniqueFd socket);
  void OnListenerGone(SocketSlot* slot);
  VmRun* FindOrMakeRun(SocketSlot* slot, const SocketFile& file, PeerProcess peer);
  // Nothing more can come of an untracked run whose connection is closed and whose socket is gone.
  void EndUntrackedRun(SocketSlot* slot);
  FollowedRun& Followed(const VmRun* run);
  // The entry of a socket behind which no process was seen.
  VmStatus SocketStatus(const SocketSlot& slot) const;
  void TellProblem(SocketSlot* slot, const std::string& problem);
  void ForgetProblem(SocketSlot* slot);
  void Republish(const std::vector<VmRun*>& runs);
  std::string UuidProblem(const VmRun* run) const;

  const WatcherOptions options_;
  EventSink* const sink_;
  const std::unique_ptr<EventLoop> loop_;
  const std::string boot_id_;
  RunContext context_;
  absl::flat_hash_map<absl::string_view, std::unique_ptr<SocketSlot>>
      slots_;                                               // by SocketSlot::path
  std::vector<std::unique_ptr<SocketSlot>> dropped_slots_;  // may be on the call stack
  InodeClaims claims_;
  absl::flat_hash_map<absl::string_view, FollowedRun> runs_;  // by RunInfo::run_id
  UuidIndex uuids_;
  std::unique_ptr<DirectoryWatcher> directories_;
  int untried_slots_ = 0;
  bool scanned_ = false;
  bool first_scan_done_ = false;
};

NodeWatcherImpl::NodeWatcherImpl(WatcherOptions options, EventSink* sink,
                                 std::unique_ptr<EventLoop> loop)
    : options_(std::move(options)), sink_(sink), loop_(std::move(loop)), boot_id_(ReadBootId()) {
  context_.loop = loop_.get();
  context_.options = &options_;
  context_.buffer.resize(kReadBufferBytes);
}

absl::Status NodeWatcherImpl::WatchDirectories() {
  absl::StatusOr<std::unique_ptr<DirectoryWatcher>> directories =
      DirectoryWatcher::Create(loop_.get(), options_.watches, this);
  if (!directories.ok()) return directories.status();
  directories_ = *std::move(directories);
  return absl::OkStatus();
}

void NodeWatcherImpl::RunOnce(absl::Duration timeout) {
  if (!scanned_) {
    scanned_ = true;
    timeout = absl::ZeroDuration();
    directories_->Start();
  }
  loop_->RunOnce(timeout);
  const auto dead_handlers = std::exchange(context_.graveyard, {});
  dropped_slots_.clear();
  if (untried_slots_ == 0) first_scan_done_ = true;
}

WatcherCounters NodeWatcherImpl::counters() const {
  WatcherCounters counters = context_.counters;
  counters.inotify_overflows = directories_->counters().overflows;
  counters.rescans = directories_->counters().rescans;
  return counters;
}

// Sockets

std::string NodeWatcherImpl::PathOf(int spec, const std::string& file_name) const {
  const std::string& directory = options_.watches[spec].directory;
  return absl::StrCat(directory, directory == "/" ? "" : "/", file_name);
}

std::string NodeWatcherImpl::RawVmName(const SocketSlot& slot) const {
  const std::string file_name = slot.path.substr(slot.path.rfind('/') + 1);
  return options_.watches[slot.spec].VmName(file_name).value_or(file_name);
}

void NodeWatcherImpl::OnSocket(int spec, const std::string& file_name) {
  std::string path = PathOf(spec, file_name);
  auto it = slots_.find(path);
  if (it == slots_.end()) {
    auto made = std::make_unique<SocketSlot>();
    made->path = std::move(path);
    made->spec = spec;
    ++untried_slots_;
    const absl::string_view key = made->path;
    it = slots_.emplace(key, std::move(made)).first;
  }
  SocketSlot* const slot = it->second.get();
  slot->present = true;
  if (slot->run != nullptr && slot->run->connected()) {
    struct stat status;
    if (lstat(slot->path.c_str(), &status) != 0) return;  // its removal will be told
    if (InodeKey(status.st_dev, status.st_ino) == slot->inode) return;
    // Another socket in its place. The old one's run goes on by its connection and its process.
    slot->run = nullptr;
  }
  slot->backoff = absl::ZeroDuration();
  Schedule(slot, absl::ZeroDuration());
}

void NodeWatcherImpl::OnSocketGone(int spec, const std::string& file_name) {
  const auto it = slots_.find(PathOf(spec, file_name));
  if (it == slots_.end()) return;
  SocketSlot* const slot = it->second.get();
  slot->present = false;
  loop_->CancelTimer(&slot->retry);
  ScheduleAll(claims_.Release(slot));
  ForgetProblem(slot);
  EndUntrackedRun(slot);
  DropSlotIfUnused(slot);
}

void NodeWatcherImpl::OnDirectories(std::vector<WatchedDirectory> directories) {
  sink_->SetDirectories(std::move(directories));
}

void NodeWatcherImpl::DropSlotIfUnused(SocketSlot* slot) {
  if (slot->present || slot->runs > 0) return;
  if (!slot->tried) --untried_slots_;
  loop_->CancelTimer(&slot->retry);
  const auto it = slots_.find(slot->path);
  if (it == slots_.end() || it->second.get() != slot) return;  // dropped already
  dropped_slots_.push_back(std::move(it->second));
  slots_.erase(it);
}

void NodeWatcherImpl::Schedule(SocketSlot* slot, absl::Duration delay) {
  loop_->CancelTimer(&slot->retry);
  slot->retry = loop_->AddTimer(loop_->Now().monotonic + delay, [this, slot] {
    slot->retry = {};
    TryConnect(slot);
  });
}

void NodeWatcherImpl::ScheduleAll(const std::vector<SocketSlot*>& slots) {
  for (SocketSlot* slot : slots) Schedule(slot, absl::ZeroDuration());
}

void NodeWatcherImpl::BackOff(SocketSlot* slot, absl::Duration first, absl::Duration limit) {
  slot->backoff = std::min(std::max(slot->backoff * 2, first), limit);
  Schedule(slot, slot->backoff);
}

// Connecting

void NodeWatcherImpl::TryConnect(SocketSlot* slot) {
  if (!std::exchange(slot->tried, true)) --untried_slots_;
  if (slot->run != nullptr && slot->run->connected()) return;
  SocketFile file;
  if (const int error = OpenSocketFile(slot->path, &file); error != 0) {
    return OnConnectError(slot, error);
  }
  const InodeKey inode(file.device, file.inode);
  if (inode != slot->inode) EndUntrackedRun(slot);
  std::vector<SocketSlot*> freed;
  const bool claimed = claims_.Claim(inode, slot, &freed);
  ScheduleAll(freed);
  if (!claimed) return;

  // A run takes two: its connection and its pidfd.
  const int needed = slot->run != nullptr ? 1 : 2;
  if (context_.vm_descriptors + needed > options_.max_vm_descriptors) {
    return OnConnectError(slot, EMFILE);
  }
  UniqueFd socket;
  if (const int error = ConnectTo(file, &socket); error != 0) return OnConnectError(slot, error);
  Attach(slot, file, std::move(socket));
}

void NodeWatcherImpl::OnConnectError(SocketSlot* slot, int error) {
  if (error == ENOENT || error == ENOTSOCK || error == ENOTDIR) {
    EndUntrackedRun(slot);  // inotify tells of what comes in its place
  } else if (error == ECONNREFUSED) {
    ++context_.counters.connect_retries;
    EndUntrackedRun(slot);
    ForgetProblem(slot);
    BackOff(slot, kFirstRetry, slot->run != nullptr ? kMaxRetry : kMaxRefusedRetry);
  } else if (error == EAGAIN) {
    ++context_.counters.connect_retries;
    BackOff(slot, kFirstRetry, kMaxRetry);
    if (slot->backoff >= std::min(options_.greeting_timeout, kMaxRetry)) {
      TellProblem(slot, kQueueFull);
    }
  } else if (IsOutOfDescriptors(error)) {
    ++context_.counters.out_of_descriptors;
    BackOff(slot, kFirstRetry, kMaxRetry);
    TellProblem(slot, kOutOfDescriptors);
  } else {
    BackOff(slot, kFirstRetry, kMaxRetry);
    TellProblem(slot, absl::StrCat("cannot connect to the monitor: ",
                                   std::generic_category().message(error)));
  }
}

void NodeWatcherImpl::Attach(SocketSlot* slot, const SocketFile& file, UniqueFd socket) {
  PeerProcess peer;
  if (options_.process_tracking) {
    absl::StatusOr<PeerProcess> identified = IdentifyPeer(socket.get());
    if (!identified.ok()) return OnConnectError(slot, EMFILE);
    peer = *std::move(identified);
  }
  if (peer.kind == PeerProcess::Kind::kGone) return OnListenerGone(slot);
  VmRun* const run = FindOrMakeRun(slot, file, std::move(peer));
  if (run == nullptr) return OnConnectError(slot, ENOSPC);
  slot->run = run;
  if (!run->Attach(std::move(socket)).ok()) return OnConnectError(slot, ENOSPC);
  loop_->CancelTimer(&slot->retry);  // what the end of the connection before may have left
}

void NodeWatcherImpl::OnListenerGone(SocketSlot* slot) {
  // Mostly a QEMU that ended in this moment; else a child of it that still has the socket.
  BackOff(slot, kFirstRetry, kMaxRetry);
  if (slot->backoff >= std::min(options_.greeting_timeout, kMaxRetry)) {
    TellProblem(slot, kListenerGone);
  }
}

VmRun* NodeWatcherImpl::FindOrMakeRun(SocketSlot* slot, const SocketFile& file, PeerProcess peer) {
  const bool tracked = peer.kind == PeerProcess::Kind::kTracked;
  // Of the same socket: TryConnect has ended that of another.
  if (!tracked && slot->run != nullptr && !slot->run->tracked()) return slot->run;

  RunIdentity identity{boot_id_, slot->path, 0, 0, file.inode, file.ctime_ns + slot->ended_runs};
  if (peer.start_ticks != 0) {
    identity.pid = peer.pid;
    identity.start_ticks = peer.start_ticks;
  }
  RunInfo info;
  info.run_id = MakeRunId(identity);
  if (const auto it = runs_.find(info.run_id); it != runs_.end()) return it->second.run.get();

  EndUntrackedRun(slot);
  const std::string vm_name = RawVmName(*slot);
  info.name = EscapeNonUtf8(vm_name);
  info.monitor_path = EscapeNonUtf8(slot->path);
  info.raw_path = slot->path;
  info.boot_id = boot_id_;
  info.pid = tracked ? peer.pid : 0;
  info.start_ticks = peer.start_ticks;
  info.process_tracked = tracked;
  if (peer.start_ticks != 0) info.process_start = ProcessStartTime(peer.start_ticks);
  spdlog::debug("following {}, {}", ForLog(slot->path),
                tracked ? absl::StrCat("pid ", peer.pid) : "its process is not tracked");

  auto run = std::make_unique<VmRun>(&context_, this, std::move(info),
                                     &options_.watches[slot->spec].directory, vm_name,
                                     std::move(peer.pidfd));
  if (tracked && !run->Track().ok()) return nullptr;
  VmRun* const made = run.get();
  runs_[made->info().run_id] = {std::move(run), slot, std::nullopt};
  ++slot->runs;
  return made;
}

void NodeWatcherImpl::EndUntrackedRun(SocketSlot* slot) {
  VmRun* const run = slot->run;
  if (run != nullptr && !run->tracked() && !run->connected()) run->End();
}

// Problems of sockets without a run

VmStatus NodeWatcherImpl::SocketStatus(const SocketSlot& slot) const {
  VmStatus status;
  status.ref.name = EscapeNonUtf8(RawVmName(slot));
  status.state_time = loop_->Now().wall;
  status.monitor_path = EscapeNonUtf8(slot.path);
  return status;
}

void NodeWatcherImpl::TellProblem(SocketSlot* slot, const std::string& problem) {
  if (slot->run != nullptr) return slot->run->ReportProblem(problem);
  if (slot->problem == problem) return;
  slot->problem = problem;
  spdlog::warn("{}: {}", ForLog(slot->path), problem);
  VmStatus status = SocketStatus(*slot);
  status.problems = {problem};
  sink_->Push({std::move(status), std::nullopt, false});
}

void NodeWatcherImpl::ForgetProblem(SocketSlot* slot) {
  if (slot->problem.empty()) return;
  slot->problem.clear();
  sink_->Push({SocketStatus(*slot), std::nullopt, true});
}

// Runs

FollowedRun& NodeWatcherImpl::Followed(const VmRun* run) {
  return runs_.find(run->info().run_id)->second;
}

void NodeWatcherImpl::OnPublish(VmRun* run, VmUpdate update) {
  if (update.event.has_value() && update.event->type == EventType::kMonitorLost) {
    ++context_.counters.monitors_lost;
  }
  if (update.status.has_value()) {
    SocketSlot* const slot = Followed(run).slot;
    if (slot->run == run) slot->problem.clear();  // this status takes its place
    const std::string problem = UuidProblem(run);
    if (!problem.empty() && update.status->state != VmState::kStopped) {
      update.status->problems.push_back(problem);
    }
  }
  sink_->Push(std::move(update));
}

void NodeWatcherImpl::OnMonitorReady(VmRun* run, const std::string& uuid) {
  FollowedRun& followed = Followed(run);
  const std::optional<Uuid> parsed = ParseUuid(uuid);
  if (parsed == followed.uuid) return;
  if (followed.uuid.has_value()) Republish(uuids_.Remove(*followed.uuid, run));
  followed.uuid = parsed;
  if (parsed.has_value()) Republish(uuids_.Add(*parsed, run));
}

std::string NodeWatcherImpl::UuidProblem(const VmRun* run) const {
  const std::optional<Uuid>& uuid = runs_.find(run->info().run_id)->second.uuid;
  if (!uuid.has_value() || uuids_.UserCount(*uuid) < 2) return "";
  const VmRun* const other = uuids_.OtherUser(*uuid, run);
  if (other == nullptr) return "its UUID is used by several other running VMs as well";
  return absl::StrCat("its UUID is used by the running VM ", other->info().name, " (",
                      other->info().monitor_path, ") as well");
}

void NodeWatcherImpl::Republish(const std::vector<VmRun*>& runs) {
  for (VmRun* run : runs) {
    if (run->published()) OnPublish(run, {run->Status(), std::nullopt, false});
  }
}

void NodeWatcherImpl::OnMonitorEnded(VmRun* run, VmRun::MonitorEnd end,
                                     absl::Duration answered_for) {
  SocketSlot* const slot = Followed(run).slot;
  if (slot->run != run || !slot->present) {
    // No way leads back to its monitor. The process's end will be seen, if it is tracked.
    if (!run->tracked()) run->End();
    return;
  }
  switch (end) {
    case VmRun::MonitorEnd::kLost:
      if (answered_for >= kSteadyMonitor) slot->backoff = absl::ZeroDuration();
      return BackOff(slot, kFirstReconnect, kMaxRetry);
    case VmRun::MonitorEnd::kHeld:
      return BackOff(slot, kFirstHeldRetry, kMaxRetry);
    case VmRun::MonitorEnd::kProtocol:
      return BackOff(slot, kMaxRetry, kMaxRetry);
  }
}

void NodeWatcherImpl::OnOver(VmRun* run) {
  const auto it = runs_.find(run->info().run_id);
  FollowedRun followed = std::move(it->second);
  runs_.erase(it);
  if (followed.uuid.has_value()) Republish(uuids_.Remove(*followed.uuid, run));
  SocketSlot* const slot = followed.slot;
  spdlog::debug("{} has ended", ForLog(slot->path));
  --slot->runs;
  if (!run->tracked()) ++slot->ended_runs;
  if (slot->run == run) {
    slot->run = nullptr;
    // The file may stay, and be listened on once more.
    slot->backoff = absl::ZeroDuration();
    if (slot->present) BackOff(slot, kFirstReconnect, kMaxRefusedRetry);
  }
  context_.graveyard.push_back(std::move(followed.run));
  DropSlotIfUnused(slot);
}

}  // namespace

absl::StatusOr<std::unique_ptr<NodeWatcher>> NodeWatcher::Create(WatcherOptions options,
                                                                 const Clock* clock,
                                                                 EventSink* sink) {
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create(clock);
  if (!loop.ok()) return loop.status();
  auto watcher = std::make_unique<NodeWatcherImpl>(std::move(options), sink, *std::move(loop));
  if (absl::Status status = watcher->WatchDirectories(); !status.ok()) return status;
  return watcher;
}

}  // namespace vmeventd
