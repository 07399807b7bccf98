#include "watcher/qmp/node_watcher.h"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "watcher/core/names.h"
#include "watcher/qmp/node_watcher_impl.h"

namespace vmeventd {
namespace {

constexpr size_t kReadBufferBytes = 64 << 10;

constexpr char kQueueFull[] =
    "monitor held by another client: the socket's queue of connections is full";

WatcherOptions WithNodeEvents(WatcherOptions options, NodeEventLimiter* node_events) {
  options.session.node_events = node_events;
  return options;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NodeWatcher>> NodeWatcher::Create(WatcherOptions options,
                                                                 const Clock* clock,
                                                                 EventSink* sink) {
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create(clock);
  if (!loop.ok()) return loop.status();
  absl::StatusOr<std::unique_ptr<OomWatch>> oom_watch = OomWatch::Create(loop->get());
  if (!oom_watch.ok()) return oom_watch.status();
  std::vector<std::string> saved_runs = std::exchange(options.saved_runs, {});
  auto watcher = std::make_unique<NodeWatcherImpl>(std::move(options), std::move(saved_runs), sink,
                                                   *std::move(loop), *std::move(oom_watch));
  if (absl::Status status = watcher->WatchDirectories(); !status.ok()) return status;
  return watcher;
}

NodeWatcherImpl::NodeWatcherImpl(WatcherOptions options, std::vector<std::string> saved_runs,
                                 EventSink* sink, std::unique_ptr<EventLoop> loop,
                                 std::unique_ptr<OomWatch> oom_watch)
    : options_(WithNodeEvents(std::move(options), &node_events_)),
      sink_(sink),
      loop_(std::move(loop)),
      boot_id_(ReadBootId()),
      pid_namespace_(ReadPidNamespace()),
      exit_statuses_(ExitStatusReader::Create(
          loop_.get(), options_.process_tracking ? options_.exit_status_source
                                                 : std::optional(ExitStatusSource::kNone))),
      oom_watch_(std::move(oom_watch)),
      saved_runs_(std::move(saved_runs)) {
  context_.loop = loop_.get();
  context_.options = &options_;
  context_.exit_statuses = exit_statuses_.get();
  context_.oom_counters = &oom_counters_;
  context_.oom_watch = oom_watch_.get();
  context_.buffer.resize(kReadBufferBytes);
}

NodeWatcherImpl::~NodeWatcherImpl() {
  for (const IntentTask& task : TakeIntentTasks()) {
    task.done(absl::UnavailableError("the watcher has ended"));
  }
}

std::string NodeWatcherImpl::exit_status_source() const {
  return ExitStatusSourceName(exit_statuses_->source());
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
    timeout = absl::ZeroDuration();
    // The runs come first, so that what is found in the directories is known for theirs.
    if (RestoreSome()) {
      directories_->Start();
      scanned_ = true;
      EndUnreachableRuns();
      for (const auto& [run_id, followed] : runs_) UpdateUuidProblems({followed.run.get()});
    }
  }
  loop_->RunOnce(timeout);
  ended_runs_.clear();
  context_.closed_connections.clear();
  dropped_slots_.clear();
  if (!scanned_) return;
  if (tell_runs_again_.exchange(false)) TellAllRuns();
  if (untried_slots_ == 0) first_scan_done_ = true;
  if (first_scan_done_) HandleIntents();
}

void NodeWatcherImpl::TellRunsAgain() {
  tell_runs_again_ = true;
  Wake();
}

WatcherCounters NodeWatcherImpl::counters() const {
  const WatcherMeters& meters = context_.meters;
  const DirectoryWatcher::Counters directories = directories_->counters();
  return {.inotify_overflows = directories.overflows,
          .rescans = directories.rescans,
          .connect_retries = meters.connect_retries.value(),
          .monitor_reconnects = meters.monitor_reconnects.value(),
          .monitors_lost = meters.monitors_lost.value(),
          .protocol_errors = meters.protocol_errors.value(),
          .out_of_descriptors = meters.out_of_descriptors.value(),
          .rate_limited_events = meters.rate_limited_events.value(),
          .shutdown_file_errors = meters.shutdown_file_errors.value(),
          .unreadable_runs = meters.unreadable_runs.value(),
          .exit_statuses_lost = exit_statuses_->overflows(),
          .drains_cut_short = meters.drains_cut_short.value(),
          .sockets_over_process_limit = meters.sockets_over_process_limit.value(),
          .sockets_over_owner_limit = directories.over_owner_limit,
          .sockets_over_directory_limit = directories.over_directory_limit,
          .shutdown_file_times = meters.shutdown_file_times.Read()};
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

int NodeWatcherImpl::SpecOf(const std::string& path) const {
  const std::string file_name = path.substr(path.rfind('/') + 1);
  for (int spec = 0; spec < static_cast<int>(options_.watches.size()); ++spec) {
    if (options_.watches[spec].VmName(file_name).has_value() && PathOf(spec, file_name) == path) {
      return spec;
    }
  }
  return -1;
}

SocketSlot* NodeWatcherImpl::SlotAt(std::string path) {
  const auto it = slots_.find(path);
  if (it != slots_.end()) return it->second.get();
  auto made = std::make_unique<SocketSlot>();
  made->path = std::move(path);
  const absl::string_view key = made->path;
  return slots_.emplace(key, std::move(made)).first->second.get();
}

void NodeWatcherImpl::OnSocket(int spec, const std::string& file_name) {
  SocketSlot* const slot = SlotAt(PathOf(spec, file_name));
  if (slot->spec < 0) slot->spec = spec;
  const bool is_new = !std::exchange(slot->present, true);
  if (slot->run != nullptr && slot->run->connected()) {
    SocketIdentity socket;
    if (LookAtSocketFile(slot->path, &socket) != 0) return;  // its removal will be told
    if (InodeKey(socket.device, socket.inode) == slot->inode) return;
    // Another socket in its place. The old one's run goes on by its connection and its process.
    SetRun(slot, nullptr);
  }
  if (!first_scan_done_ && is_new && !std::exchange(slot->untried, true)) ++untried_slots_;
  slot->backoff = absl::ZeroDuration();
  Schedule(slot, absl::ZeroDuration());
}

void NodeWatcherImpl::OnSocketGone(int spec, const std::string& file_name) {
  const auto it = slots_.find(PathOf(spec, file_name));
  if (it == slots_.end()) return;
  SocketSlot* const slot = it->second.get();
  slot->present = false;
  if (std::exchange(slot->untried, false)) --untried_slots_;
  loop_->CancelTimer(&slot->retry);
  ScheduleAll(claims_.Release(slot));
  ForgetProblem(slot);
  EndUntrackedRun(slot);
  DropSlotIfUnused(slot);
}

void NodeWatcherImpl::OnDirectories(std::vector<WatchedDirectory> directories) {
  sink_->SetDirectories(std::move(directories));
  if (runs_to_reach_) EndUnreachableRuns();
}

void NodeWatcherImpl::DropSlotIfUnused(SocketSlot* slot) {
  if (slot->present || slot->runs > 0) return;
  SetRun(slot, nullptr);
  if (std::exchange(slot->untried, false)) --untried_slots_;
  loop_->CancelTimer(&slot->retry);
  ScheduleAll(claims_.Release(slot));
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
  if (std::exchange(slot->untried, false)) --untried_slots_;
  if (slot->run != nullptr && slot->run->connected()) return;
  SocketFile file;
  if (const int error = OpenSocketFile(slot->path, &file); error != 0) {
    return OnConnectError(slot, error);
  }
  if (slot->run != nullptr && !(slot->run->info().socket == file.identity)) EndUntrackedRun(slot);
  ClaimInode(slot, file.identity);
  if (!slot->claims_inode) return EndUntrackedRun(slot);
  if (VmRun* const run = RunAttachedBy(file.identity); run != nullptr) {
    return SetRun(slot, run);  // the socket was renamed
  }

  // A run takes two: its connection and its pidfd.
  const int needed = slot->run != nullptr ? 1 : 2;
  if (slot->run == nullptr && !HasShare(*slot, file.owner)) {
    context_.meters.out_of_descriptors.Add();
    BackOff(slot, kFirstRetry, kMaxRetry);
    return TellProblem(slot, kOutOfShare);
  }
  if (context_.vm_descriptors + needed > options_.max_vm_descriptors) {
    return OnConnectError(slot, EMFILE);
  }
  UniqueFd socket;
  if (const int error = ConnectTo(file, &socket); error != 0) return OnConnectError(slot, error);
  Attach(slot, file, std::move(socket));
}

void NodeWatcherImpl::ClaimInode(SocketSlot* slot, const SocketIdentity& socket) {
  std::vector<SocketSlot*> freed;
  claims_.Claim(InodeKey(socket.device, socket.inode), slot, &freed);
  ScheduleAll(freed);
}

void NodeWatcherImpl::OnConnectError(SocketSlot* slot, int error) {
  if (error == ENOENT || error == ENOTSOCK || error == ENOTDIR) {
    EndUntrackedRun(slot);  // inotify tells of what comes in its place
  } else if (error == ECONNREFUSED) {
    context_.meters.connect_retries.Add();
    EndUntrackedRun(slot);
    ForgetProblem(slot);
    BackOff(slot, kFirstRetry, slot->run != nullptr ? kMaxRetry : kMaxRefusedRetry);
  } else if (error == EAGAIN) {
    context_.meters.connect_retries.Add();
    BackOff(slot, kFirstRetry, kMaxRetry);
    if (slot->backoff >= std::min(options_.greeting_timeout, kMaxRetry)) {
      TellProblem(slot, kQueueFull);
    }
  } else if (IsOutOfDescriptors(error)) {
    context_.meters.out_of_descriptors.Add();
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
    if (absl::IsResourceExhausted(identified.status())) return OnConnectError(slot, EMFILE);
    if (!identified.ok()) {
      BackOff(slot, kFirstRetry, kMaxRetry);
      return TellProblem(slot, absl::StrCat("cannot identify the process behind the monitor: ",
                                            identified.status().message()));
    }
    peer = *std::move(identified);
  }
  const bool listener_gone = peer.kind == PeerProcess::Kind::kGone;
  if (listener_gone) {
    if (slot->run != nullptr && slot->run->process_ended()) return OnListenerGone(slot);
    peer = PeerProcess();
  }
  VmRun* const run = FindOrMakeRun(slot, file, std::move(peer));
  if (run == nullptr) return;
  SetRun(slot, run);
  if (listener_gone) run->ExpectSpeaker();
  // Another way to the same run: its monitor is ours already.
  const FollowedRun& followed = Followed(run);
  if (run->connected() && slot != followed.attached_by && slot != followed.slot) return;
  NoteSocket(run, slot, file);
  if (!run->Attach(std::move(socket), file.identity).ok()) return OnConnectError(slot, ENOSPC);
  loop_->CancelTimer(&slot->retry);  // what the end of the connection before may have left
}

void NodeWatcherImpl::OnListenerGone(SocketSlot* slot) {
  // Mostly a QEMU that ended in this moment; else a child of it that still has the socket.
  BackOff(slot, kFirstRetry, kMaxRetry);
  if (slot->backoff >= std::min(options_.greeting_timeout, kMaxRetry)) {
    TellProblem(slot, kListenerGone);
  }
}

// Sockets without a run

void NodeWatcherImpl::TellProblem(SocketSlot* slot, const std::string& problem) {
  if (slot->run != nullptr) return slot->run->ReportProblem(problem);
  if (slot->problem == problem) return;
  slot->problem = problem;
  spdlog::warn("{}: {}", ForLog(slot->path), problem);
  const MutexLock lock(&unfollowed_mutex_);
  const auto [it, added] = unfollowed_.try_emplace(slot->path);
  if (added) it->second.since = loop_->Now().wall;
  it->second.path = EscapeNonUtf8(slot->path);
  it->second.name = EscapeName(RawVmName(*slot));
  it->second.problem = problem;
}

void NodeWatcherImpl::ForgetProblem(SocketSlot* slot) {
  if (slot->problem.empty()) return;
  slot->problem.clear();
  const MutexLock lock(&unfollowed_mutex_);
  unfollowed_.erase(slot->path);
}

std::vector<UnfollowedSocket> NodeWatcherImpl::unfollowed_sockets() const {
  constexpr size_t kMaxListed = 1000;
  std::vector<UnfollowedSocket> sockets;
  const MutexLock lock(&unfollowed_mutex_);
  for (const auto& [path, socket] : unfollowed_) {
    if (sockets.size() == kMaxListed) break;
    sockets.push_back(socket);
  }
  return sockets;
}

}  // namespace vmeventd
