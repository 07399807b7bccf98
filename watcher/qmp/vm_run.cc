#include "watcher/qmp/vm_run.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "watcher/core/names.h"
#include "watcher/runs/shutdown_file.h"

namespace vmeventd {
namespace {

// How long QEMU may take for each step of the handshake before its VM has a problem.
constexpr absl::Duration kReplyTimeout = absl::Seconds(10);

// How long a QEMU that has greeted may be silent before it is nudged, each time.
constexpr absl::Duration kNudgeInterval = absl::Seconds(1);

// How long QEMU may take for an answer once the process that was followed is gone. A child that
// only holds the monitor open never answers, and delays the run's end by that.
constexpr absl::Duration kAnswerWait = absl::Seconds(2);

// How long a request about an intent may wait for what QEMU has said already.
constexpr absl::Duration kMaxDrain = absl::Milliseconds(20);

std::string ForLog(const std::string& text) { return absl::Utf8SafeCHexEscape(text); }

}  // namespace

VmRun::VmRun(RunContext* context, Owner* owner, VmSession session)
    : context_(context),
      owner_(owner),
      session_(std::move(session)),
      process_(context, this,
               {.pid = info().pid,
                .start_ticks = info().start_ticks,
                .oom_file = info().oom_file,
                .oom_kills = info().oom_kills}),
      published_(session_.away()) {}

VmRun::~VmRun() {
  RetireConnection();
  process_.Reset({});
  context_->loop->CancelTimer(&tick_timer_);
  context_->loop->CancelTimer(&answer_timer_);
}

absl::Status VmRun::Track(PeerProcess process) {
  if (absl::Status status = process_.Follow(std::move(process)); !status.ok()) return status;
  if (process_.key().has_value()) owner_->OnFollowed(this, *process_.key());
  return absl::OkStatus();
}

absl::Status VmRun::TrackAgain(PeerProcess process) {
  if (absl::Status status = Track(std::move(process)); !status.ok()) return status;
  // What was killed there while vmeventd was away was not this process, if it lives now.
  process_.OnOomCountChanged();
  return absl::OkStatus();
}

absl::Status VmRun::TrackInstead(PeerProcess process) {
  const ProcessInfo info = DescribeProcess(process, *context_->oom_counters);
  process_.Reset(info);
  is_last_try_ = false;
  context_->loop->CancelTimer(&answer_timer_);
  ending_ = false;
  Apply(session_.OnProcessFound(info, context_->loop->Now()));
  absl::Status status = Track(std::move(process));
  if (!status.ok()) LoseTracking();
  return status;
}

void VmRun::OnOomKillsOfOthers(uint64_t kills) { Apply(session_.OnOomKills(kills)); }

void VmRun::OnOomKilled(uint64_t kills) { owner_->OnOomKill(this, kills); }

void VmRun::OnReleased() {
  if (process_.key().has_value()) owner_->OnUnfollowed(this, *process_.key());
}

absl::Status VmRun::Attach(UniqueFd socket, const SocketIdentity& identity) {
  if (process_.gone()) return absl::FailedPreconditionError("its process is gone");
  if (connection_ != nullptr) DrainAndClose("its socket was replaced");
  if (over_) return absl::FailedPreconditionError("the run is over");
  if (absl::Status status = Connect(std::move(socket), identity); !status.ok()) return status;
  monitor_timer_ = context_->loop->AddTimer(
      context_->loop->Now().monotonic + context_->options->greeting_timeout,
      [this] { OnGreetingTimeout(); });
  return absl::OkStatus();
}

absl::Status VmRun::Connect(UniqueFd socket, const SocketIdentity& identity) {
  auto connection = std::make_unique<MonitorConnection>(context_->loop, std::move(socket),
                                                        &context_->buffer, this);
  if (absl::Status status = connection->Start(); !status.ok()) return status;
  connection_ = std::move(connection);
  ++context_->vm_descriptors;
  Apply(session_.OnSocket(identity));
  return absl::OkStatus();
}

std::unique_ptr<MonitorConnection> VmRun::TakeConnection() {
  context_->loop->CancelTimer(&monitor_timer_);
  --context_->vm_descriptors;
  return std::move(connection_);
}

void VmRun::Adopt(std::unique_ptr<MonitorConnection> connection, const SocketIdentity& identity) {
  connection_ = std::move(connection);
  connection_->SetDelegate(this);
  ++context_->vm_descriptors;
  Apply(session_.OnSocket(identity));
  greeted_ = true;
  AwaitReplies();
}

void VmRun::Discard() {
  over_ = true;
  RetireConnection();
  owner_->OnOver(this);
}

void VmRun::Resume() {
  owner_->OnPublish(this, {Status(), std::nullopt});
  ArmTick();
}

void VmRun::LoseTracking() { Apply(session_.OnTrackingLost(context_->loop->Now())); }

void VmRun::LoseListener() { Apply(session_.OnListenerGone(false, context_->loop->Now())); }

void VmRun::EndWithHost() { Apply(session_.OnHostRebooted(context_->loop->Now())); }

void VmRun::NoteShutdownFile(absl::Time written) {
  Apply(session_.OnShutdownFileFound(written, context_->loop->Now()));
}

std::string VmRun::Directory() const {
  return info().raw_path.substr(0, std::max<size_t>(info().raw_path.rfind('/'), 1));
}

void VmRun::SetUuidProblem(absl::string_view problem) {
  Apply(session_.OnSharedUuid(problem, context_->loop->Now()));
}

void VmRun::ReportHeld() { Apply(session_.OnMonitorHeld(context_->loop->Now())); }

void VmRun::ReportProblem(absl::string_view problem) {
  Apply(session_.OnMonitorProblem(problem, context_->loop->Now()));
}

void VmRun::End(const ProcessEnd& end) {
  Apply(session_.OnProcessGone(context_->loop->Now(), end));
}

void VmRun::EndWithZombie(const PeerProcess& zombie) { End(process_.EndOfZombie(zombie)); }

void VmRun::OnProcessGone() {
  ending_ = true;
  if (connection_ != nullptr) return connection_->StartDrain();
  LookForSuccessor();
}

void VmRun::OnProcessEnd(const ProcessEnd& end) { End(end); }

void VmRun::OnDrainCutShort() {
  context_->meters.drains_cut_short.Add();
  spdlog::warn(
      "{}: what its process sent on its monitor before it ended is not read to the end: "
      "that takes longer than {} s",
      ForLog(info().name), absl::ToInt64Seconds(MonitorConnection::kMaxDrainTime));
}

// All that the process has said was handed in, and another process has the monitor open. A child
// that only inherited it says nothing. An answer comes from a QEMU, which then is another process
// than the one that listened on the socket. Without a greeting nothing is known: another client may
// be served, and the greeting's time-out decides.
void VmRun::OnDrained() {
  if (!greeted_) return;
  connection_->RequestRunState();
  AwaitAnswer();
}

void VmRun::AwaitAnswer() {
  answer_timer_ = context_->loop->AddTimer(context_->loop->Now().monotonic + kAnswerWait, [this] {
    answer_timer_ = {};
    RetireConnection();
    Apply(session_.OnMonitorClosed("the process is gone", context_->loop->Now()));
    if (!over_) process_.AwaitEnd();
  });
}

// The process may not have been QEMU's: a launcher that handed its listening socket over, or a
// proxy's child. Then its socket is still listened on. A monitor that answered until now is asked
// again, and 2 s of silence are its end. One that did not, because another client holds it, cannot
// be asked.
void VmRun::LookForSuccessor() {
  UniqueFd socket;
  SocketIdentity identity;
  switch (is_last_try_ ? Listener::kNone : owner_->ConnectAgain(this, &socket, &identity)) {
    case Listener::kNone:
      return process_.AwaitEnd();
    case Listener::kUnknown:
      return GoOnUnserved();
    case Listener::kConnected:
      break;
  }
  if (!answers_) return GoOnUnserved();
  is_last_try_ = true;
  if (!Connect(std::move(socket), identity).ok()) return GoOnUnserved();
  AwaitAnswer();
}

void VmRun::GoOnUnserved() {
  GoOnUntracked(false);
  ReportHeld();
  owner_->OnMonitorEnded(this, MonitorEnd::kHeld, absl::ZeroDuration());
}

void VmRun::Survive() {
  const int64_t speaker = connection_ == nullptr ? 0 : connection_->speaker();
  if (speaker != 0 && speaker != info().pid) {
    absl::StatusOr<PeerProcess> process = IdentifyByPid(speaker);
    if (process.ok() && process->kind == PeerProcess::Kind::kTracked) {
      spdlog::info("{} is followed by its process {}: the one that listened on its socket is gone",
                   ForLog(info().name), speaker);
      if (TrackInstead(*std::move(process)).ok()) return;
    }
  }
  GoOnUntracked(true);
}

void VmRun::GoOnUntracked(bool answers) {
  context_->loop->CancelTimer(&answer_timer_);
  process_.Reset({});
  is_last_try_ = false;
  ending_ = false;
  spdlog::warn(
      "{}: the process that listened on its socket is gone, another one serves the socket and is "
      "not known: the end of the monitor will count as the VM's end",
      ForLog(info().name));
  Apply(session_.OnListenerGone(answers, context_->loop->Now()));
}

// Intents

bool VmRun::Lives() {
  if (connection_ != nullptr) connection_->Drain(kMaxDrain);
  return !over_ && !process_.ended();
}

void VmRun::Confirm(std::function<void()> told) {
  VmUpdate update{Status(), std::nullopt};
  update.told = std::move(told);
  owner_->OnPublish(this, std::move(update));
}

void VmRun::DeclareIntent(Intent intent, std::function<void()> told) {
  ApplyTold(session_.OnIntentDeclared(std::move(intent), context_->loop->Now()),
            EventType::kIntentDeclared, std::move(told));
}

void VmRun::WithdrawIntent(std::function<void()> told) {
  ApplyTold(session_.OnIntentWithdrawn(context_->loop->Now()), EventType::kIntentWithdrawn,
            std::move(told));
}

void VmRun::ApplyTold(Effects effects, EventType type, std::function<void()> told) {
  for (Effect& effect : effects) {
    Publish* const publish = std::get_if<Publish>(&effect);
    if (publish == nullptr || !publish->update.event.has_value()) continue;
    if (publish->update.event->type != type) continue;
    publish->update.told = std::move(told);
    break;
  }
  Apply(std::move(effects));
}

void VmRun::DrainAndClose(absl::string_view why) {
  if (connection_ == nullptr) return;
  const bool was_ending = std::exchange(ending_, true);
  connection_->Drain(kMaxDrain);
  if (connection_ != nullptr) {  // a child of QEMU may hold its end open
    RetireConnection();
    Apply(session_.OnMonitorClosed(why, context_->loop->Now()));
  }
  ending_ = was_ending;
}

void VmRun::RetireConnection() {
  context_->loop->CancelTimer(&monitor_timer_);
  ready_since_ = absl::InfiniteDuration();
  greeted_ = false;
  if (connection_ == nullptr) return;
  connection_->Close();
  --context_->vm_descriptors;
  context_->closed_connections.push_back(std::move(connection_));
}

// The monitor

bool VmRun::HandedOver() {
  const int64_t speaker = connection_->speaker();
  if (speaker == 0 || !context_->options->process_tracking || speaker == info().pid) return false;
  return owner_->OnSpeaker(this, speaker);
}

void VmRun::OnGreeting() {
  greeted_ = true;
  needs_speaker_ = false;
  context_->loop->CancelTimer(&monitor_timer_);
  if (HandedOver()) return;
  AwaitReplies();
}

void VmRun::AwaitReplies() {
  reply_deadline_ = context_->loop->Now().monotonic + kReplyTimeout;
  ArmNudge();
}

void VmRun::ArmNudge() {
  monitor_timer_ = context_->loop->AddTimer(context_->loop->Now().monotonic + kNudgeInterval,
                                            [this] { OnReplyLate(); });
}

void VmRun::OnReady(const MonitorInfo& info) {
  context_->loop->CancelTimer(&monitor_timer_);
  // The greeting may have come too early to name its sender; a reply names it.
  MonitorConnection* const connection = connection_.get();
  if (HandedOver()) {
    if (connection->open()) connection->delegate()->OnReady(info);
    return;
  }
  if (process_.gone()) Survive();
  const Instant now = context_->loop->Now();
  ready_since_ = now.monotonic;
  answers_ = true;
  if (std::exchange(was_ready_, true)) context_->meters.monitor_reconnects.Add();
  owner_->OnMonitorReady(this, info.uuid);
  Apply(session_.OnMonitorReady(info, now));
}

void VmRun::OnEvent(const QmpEvent& event) {
  Apply(session_.OnQmpEvent(event, context_->loop->Now()));
}

void VmRun::OnRunStateReply(absl::string_view run_state) {
  if (answer_timer_.serial != 0) Survive();
  Apply(session_.OnRunState(run_state, context_->loop->Now()));
}

void VmRun::OnGuestAgentReply(const GuestAgentInfo& info) {
  if (answer_timer_.serial != 0) Survive();
  Apply(session_.OnGuestAgent(info, context_->loop->Now()));
}

void VmRun::OnClosed(absl::string_view why, bool protocol_error) {
  const std::string reason(why);
  const bool greeted = greeted_;
  const Instant now = context_->loop->Now();
  const absl::Duration answered_for = std::max(absl::ZeroDuration(), now.monotonic - ready_since_);
  RetireConnection();
  if (process_.gone()) {
    context_->loop->CancelTimer(&answer_timer_);
    Apply(session_.OnMonitorClosed(reason, now));
    if (!over_) LookForSuccessor();
    return;
  }
  if (protocol_error) {
    context_->meters.protocol_errors.Add();
    spdlog::warn("the monitor of {} is closed: {}", ForLog(info().name), reason);
  } else if (!tracked() && !greeted && !published_) {
    // The socket took the connection and QEMU went away before it looked at it: nothing was seen.
    over_ = true;
    owner_->OnOver(this);
    return;
  }
  Apply(session_.OnMonitorClosed(reason, now));
  if (protocol_error) {
    Apply(
        session_.OnMonitorProblem(absl::StrCat("the monitor sent what is not QMP: ", reason), now));
  } else if (!tracked()) {
    End();
    return;
  }
  if (!ending_) {
    owner_->OnMonitorEnded(this, protocol_error ? MonitorEnd::kProtocol : MonitorEnd::kLost,
                           answered_for);
  }
}

void VmRun::OnGreetingTimeout() {
  monitor_timer_ = {};
  if (needs_speaker_ && !published_) return Discard();
  if (process_.gone()) {
    RetireConnection();
    return GoOnUnserved();
  }
  // Our place in QEMU's queue may be the manager's: it is given up for a while.
  answers_ = false;
  RetireConnection();
  ReportHeld();
  owner_->OnMonitorEnded(this, MonitorEnd::kHeld, absl::ZeroDuration());
}

// A QEMU that gets its connection while it starts may take it on its monitor thread and have its
// main thread wait in accept(2) for another one, with the whole VM (measured: docs/qemu.md). One
// more connection sets it free, and is closed at once: it takes nobody's place.
void VmRun::OnReplyLate() {
  monitor_timer_ = {};
  SocketFile file;
  UniqueFd nudge;
  if (OpenSocketFile(info().raw_path, &file) == 0) ConnectTo(file, &nudge);
  if (context_->loop->Now().monotonic < reply_deadline_) return ArmNudge();
  spdlog::warn("QEMU does not answer on the monitor of {}", ForLog(info().name));
  ReportProblem("QEMU does not answer on its monitor");
}

// Effects

void VmRun::Apply(Effects effects) {
  const uint64_t limited = session_.rate_limited_events();
  context_->meters.rate_limited_events.Add(limited - std::exchange(limited_events_, limited));
  for (Effect& effect : effects) {
    if (over_) return;
    std::visit([this](auto& known) { Carry(known); }, effect);
  }
  if (!over_) ArmTick();
}

void VmRun::Carry(Publish& effect) {
  published_ = true;
  owner_->OnPublish(this, std::move(effect.update));
}

void VmRun::Carry(const WriteShutdownFile&) {
  TouchShutdownFile([this](const std::string& directory, const std::string& vm_name) {
    return CreateShutdownFile(directory, vm_name, info().shutdown_file_mark);
  });
}

void VmRun::Carry(const RemoveShutdownFile&) { TouchShutdownFile(DeleteShutdownFile); }

bool VmRun::OwnsShutdownFile() const {
  if (!owner_->OwnsName(this)) return false;
  if (!session_.away()) return true;
  // A later run may be there and not be known yet.
  SocketIdentity there;
  return LookAtSocketFile(info().raw_path, &there) != 0 || there == info().socket;
}

template <typename Operation>
void VmRun::TouchShutdownFile(Operation operation) {
  if (!OwnsShutdownFile()) return Apply(session_.OnShutdownFileLeft(context_->loop->Now()));
  const absl::Status status =
      context_->spares.Do([&] { return operation(Directory(), info().raw_name); });
  if (!status.ok()) {
    context_->meters.shutdown_file_errors.Add();
    const std::string problem(status.message());
    spdlog::warn("{}", problem);
  }
  const Instant now = context_->loop->Now();
  context_->meters.shutdown_file_times.Observe(now.monotonic - context_->loop->turn_began());
  Apply(session_.OnShutdownFileDone(status, now));
}

void VmRun::Carry(const QueryRunState&) {
  if (connection_ != nullptr) connection_->RequestRunState();
}

void VmRun::Carry(const QueryGuestAgent&) {
  if (connection_ != nullptr) connection_->RequestGuestAgent();
}

void VmRun::Carry(const Done&) {
  over_ = true;
  context_->loop->CancelTimer(&tick_timer_);
  context_->loop->CancelTimer(&answer_timer_);
  RetireConnection();
  owner_->OnOver(this);
}

void VmRun::ArmTick() {
  const absl::Duration next = session_.NextTick();
  const bool never = next == absl::InfiniteDuration();
  if (never
          ? tick_timer_.serial == 0
          : tick_timer_.serial != 0 && tick_timer_.deadline_ns == absl::ToInt64Nanoseconds(next)) {
    return;
  }
  context_->loop->CancelTimer(&tick_timer_);
  if (never) return;
  tick_timer_ = context_->loop->AddTimer(next, [this] {
    tick_timer_ = {};
    Apply(session_.OnTick(context_->loop->Now()));
  });
}

}  // namespace vmeventd
