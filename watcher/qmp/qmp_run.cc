#include "watcher/qmp/qmp_run.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "spdlog/spdlog.h"
#include "watcher/qmp/socket_file.h"

namespace vmeventd {
namespace {

// How long QEMU may take for an answer once the process that was followed is gone. A child that
// only holds the monitor open never answers, and delays the run's end by that.
constexpr absl::Duration kAnswerWait = absl::Seconds(2);

// How long a connection that is replaced is read for what it has still.
constexpr absl::Duration kMaxDrain = absl::Milliseconds(20);

}  // namespace

QmpRun::QmpRun(QmpContext* context, Owner* owner, Source* source, VmSession session)
    : VmRun(context, owner, std::move(session)), context_(context), source_(source) {}

QmpRun::~QmpRun() {
  context_->loop->CancelTimer(&answer_timer_);
  RetireConnection();
}

void QmpRun::Disconnect() {
  context_->loop->CancelTimer(&answer_timer_);
  RetireConnection();
}

absl::Status QmpRun::Attach(ReceivingSocket socket, const SocketIdentity& identity) {
  if (process().gone()) return absl::FailedPreconditionError("its process is gone");
  if (connection_ != nullptr) DrainAndClose("its socket was replaced");
  if (over()) return absl::FailedPreconditionError("the run is over");
  return Connect(std::move(socket), identity, context_->options->greeting_timeout);
}

absl::Status QmpRun::Connect(ReceivingSocket socket, const SocketIdentity& identity,
                             absl::Duration greeting_timeout) {
  auto connection = std::make_unique<MonitorConnection>(context_->loop, std::move(socket),
                                                        &context_->buffer, this);
  if (absl::Status status = connection->Start(greeting_timeout); !status.ok()) return status;
  connection_ = std::move(connection);
  ++context_->vm_descriptors;
  Apply(session().OnSocket(identity));
  return absl::OkStatus();
}

std::unique_ptr<MonitorConnection> QmpRun::TakeConnection() {
  --context_->vm_descriptors;
  return std::move(connection_);
}

void QmpRun::Adopt(std::unique_ptr<MonitorConnection> connection, const SocketIdentity& identity) {
  connection_ = std::move(connection);
  connection_->SetDelegate(this);
  ++context_->vm_descriptors;
  Apply(session().OnSocket(identity));
}

void QmpRun::DrainAndClose(absl::string_view why) {
  if (connection_ == nullptr) return;
  const Course course = std::exchange(course_, Course::kClosing);
  connection_->Drain(kMaxDrain);
  if (connection_ != nullptr) {  // a child of QEMU may hold its end open
    RetireConnection();
    Apply(session().OnMonitorClosed(why, Now()));
  }
  course_ = course;
}

void QmpRun::RetireConnection() {
  ready_since_ = absl::InfiniteDuration();
  if (connection_ == nullptr) return;
  connection_->Close();
  --context_->vm_descriptors;
  context_->closed_connections.push_back(std::move(connection_));
}

void QmpRun::AskRunState() {
  if (connection_ != nullptr) connection_->RequestRunState();
}

void QmpRun::AskGuestAgent() {
  if (connection_ != nullptr) connection_->RequestGuestAgent();
}

void QmpRun::ReadNow(absl::Duration limit) {
  if (connection_ != nullptr) connection_->Drain(limit);
}

// The process's end

void QmpRun::OnProcessGone() {
  course_ = Course::kProcessGone;
  if (connection_ != nullptr) return connection_->StartDrain();
  LookForSuccessor();
}

void QmpRun::OnProcessReplaced() {
  context_->loop->CancelTimer(&answer_timer_);
  course_ = Course::kFollowing;
}

void QmpRun::OnDrainCutShort() {
  context_->meters.drains_cut_short.Add();
  spdlog::warn(
      "{}: what its process sent on its monitor before it ended is not read to the end: "
      "that takes longer than {} s",
      absl::Utf8SafeCHexEscape(info().name),
      absl::ToInt64Seconds(MonitorConnection::kMaxDrainTime));
}

// All that the process has said was handed in, and another process has the monitor open. A child
// that only inherited it says nothing. An answer comes from a QEMU, which then is another process
// than the one that listened on the socket. Without a greeting nothing is known: another client may
// be served, and the greeting's time-out decides.
void QmpRun::OnDrained() {
  if (!connection_->greeted()) return;
  connection_->RequestRunState();
  AwaitAnswer();
}

void QmpRun::AwaitAnswer() {
  answer_timer_ = context_->loop->AddTimer(Now().monotonic + kAnswerWait, [this] {
    answer_timer_ = {};
    RetireConnection();
    Apply(session().OnMonitorClosed("the process is gone", Now()));
    if (!over()) process().AwaitEnd();
  });
}

// The process may not have been QEMU's: a launcher that handed its listening socket over, or a
// proxy's child. Then its socket is still listened on. A monitor that answered until now is asked
// again, and 2 s of silence are its end. One that did not, because another client holds it, cannot
// be asked.
void QmpRun::LookForSuccessor() {
  ReceivingSocket socket;
  SocketIdentity identity;
  switch (course_ == Course::kLastTry ? Listener::kNone
                                      : source_->ConnectAgain(this, &socket, &identity)) {
    case Listener::kNone:
      return process().AwaitEnd();
    case Listener::kUnknown:
      return GoOnUnserved();
    case Listener::kConnected:
      break;
  }
  if (history_ != History::kAnswered) return GoOnUnserved();
  course_ = Course::kLastTry;
  if (!Connect(std::move(socket), identity, absl::InfiniteDuration()).ok()) return GoOnUnserved();
  AwaitAnswer();
}

void QmpRun::GoOnUnserved() {
  GoOnUntracked(false);
  ReportHeld();
  source_->OnMonitorEnded(this, MonitorEnd::kHeld, absl::ZeroDuration());
}

void QmpRun::Survive() {
  const int64_t speaker = connection_ == nullptr ? 0 : connection_->speaker();
  if (speaker != 0 && speaker != info().pid) {
    absl::StatusOr<PeerProcess> process = IdentifyByPid(speaker);
    if (process.ok() && process->kind == PeerProcess::Kind::kTracked) {
      spdlog::info("{} is followed by its process {}: the one that listened on its socket is gone",
                   absl::Utf8SafeCHexEscape(info().name), speaker);
      if (TrackInstead(*std::move(process)).ok()) return;
    }
  }
  GoOnUntracked(true);
}

// The monitor

bool QmpRun::HandedOver() {
  const int64_t speaker = connection_->speaker();
  if (speaker == 0 || !context_->options->process_tracking || speaker == info().pid) return false;
  return source_->OnSpeaker(this, speaker);
}

void QmpRun::OnGreeting() {
  needs_speaker_ = false;
  HandedOver();
}

void QmpRun::OnReady(const MonitorInfo& info) {
  // The greeting may have come too early to name its sender; a reply names it.
  MonitorConnection* const connection = connection_.get();
  if (HandedOver()) {
    if (connection->open()) connection->delegate()->OnReady(info);
    return;
  }
  // What is drained was sent before the process ended.
  if (process().gone() && !connection_->draining()) Survive();
  const Instant now = Now();
  logged_silence_.clear();
  ready_since_ = now.monotonic;
  if (std::exchange(history_, History::kAnswered) != History::kNeverAnswered) {
    context_->meters.monitor_reconnects.Add();
  }
  source_->OnMonitorReady(this, info.uuid);
  Apply(session().OnMonitorReady(info, now));
}

void QmpRun::OnEvent(const QmpEvent& event) { Apply(session().OnQmpEvent(event, Now())); }

void QmpRun::OnRunStateReply(absl::string_view run_state) {
  if (answer_timer_.serial != 0) Survive();
  if (run_state == "postmigrate") {
    spdlog::debug("{} was migrated away", absl::Utf8SafeCHexEscape(info().name));
  }
  Apply(session().OnRunState(run_state, Now()));
}

void QmpRun::OnGuestAgentReply(const GuestAgentInfo& agent) {
  if (answer_timer_.serial != 0) Survive();
  spdlog::debug("{} has answered everything", absl::Utf8SafeCHexEscape(info().name));
  Apply(session().OnGuestAgent(agent, Now()));
}

void QmpRun::OnClosed(absl::string_view why, bool protocol_error) {
  const std::string reason(why);
  const bool greeted = connection_->greeted();
  const Instant now = Now();
  const absl::Duration answered_for = std::max(absl::ZeroDuration(), now.monotonic - ready_since_);
  RetireConnection();
  if (process().gone()) {
    context_->loop->CancelTimer(&answer_timer_);
    Apply(session().OnMonitorClosed(reason, now));
    if (!over()) LookForSuccessor();
    return;
  }
  if (protocol_error) {
    context_->meters.protocol_errors.Add();
    spdlog::warn("the monitor of {} is closed: {}", absl::Utf8SafeCHexEscape(info().name), reason);
  } else if (!tracked() && !greeted && !published()) {
    // The socket took the connection and QEMU went away before it looked at it: nothing was seen.
    return Discard();
  }
  Apply(session().OnMonitorClosed(reason, now));
  if (protocol_error) {
    ReportProblem(absl::StrCat("monitor closed by vmeventd: ", reason));
  } else if (!tracked()) {
    return End();
  }
  if (course_ == Course::kFollowing) {
    source_->OnMonitorEnded(this, protocol_error ? MonitorEnd::kProtocol : MonitorEnd::kLost,
                            answered_for);
  }
}

void QmpRun::OnGreetingLate(bool given_up) {
  const bool unknown = needs_speaker_ && !published();
  if (given_up && unknown) return Discard();
  // Before the time is over a VM is listed that is not yet; the others are reported with it.
  if (!given_up && (unknown || published() || process().gone())) return;
  const SilentMonitors::Reason reason = context_->silent_monitors.Explain(
      connection_->descriptor(), info().pid, Now().monotonic,
      given_up ? context_->options->greeting_timeout : MonitorConnection::kSilence);
  if (!given_up) {
    if (!reason.may_start) ReportSilence(reason.problem);
    return;
  }
  RetireConnection();
  if (process().gone()) return GoOnUnserved();
  // Our place in QEMU's queue may be the manager's: it is given up for a while.
  if (history_ == History::kAnswered) history_ = History::kSilent;
  ReportSilence(reason.problem);
  source_->OnMonitorEnded(this, MonitorEnd::kHeld, absl::ZeroDuration());
}

void QmpRun::ReportSilence(absl::string_view why) {
  if (logged_silence_.str() != why) {
    logged_silence_ = why;
    spdlog::warn("{}: {}; vmevents doctor says more", absl::CHexEscape(info().raw_path()),
                 std::string(why));
  }
  ReportHeld(why);
}

// A QEMU that gets its connection while it starts may take it on its monitor thread and have its
// main thread wait in accept(2) for another one, with the whole VM (measured: docs/qemu.md). One
// more connection sets it free, and is closed at once: it takes nobody's place.
void QmpRun::OnReplyLate(bool given_up) {
  SocketFile file;
  UniqueFd nudge;
  if (OpenSocketFile(info().raw_path(), &file) == 0) ConnectTo(file, &nudge);
  ReceivingSocket(std::move(nudge), &context_->closer).Reset();
  if (!given_up) return;
  spdlog::warn("QEMU does not answer on the monitor of {}", absl::Utf8SafeCHexEscape(info().name));
  ReportProblem("QEMU does not answer on its monitor");
}

}  // namespace vmeventd
