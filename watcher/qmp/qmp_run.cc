#include "watcher/qmp/qmp_run.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "spdlog/spdlog.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

// Retry interval of the look for another process of a run whose process is gone, while no
// descriptor is left for it.
constexpr absl::Duration kAnotherRetry = absl::Milliseconds(100);

constexpr char kCrowded[] =
    "more than 8 processes speak on its monitor: it is read again when one of them has ended";
static_assert(kMaxOtherProcesses == 7);

}  // namespace

QmpRun::QmpRun(QmpContext* context, Owner* owner, Connector* connector, VmSession session)
    : VmRun(context, owner, std::move(session)),
      context_(context),
      connector_(connector),
      spoken_(answered()) {}

QmpRun::~QmpRun() { QmpRun::Disconnect(); }

void QmpRun::Disconnect() {
  context_->loop->CancelTimer(&another_timer_);
  RetireConnection();
}

absl::Status QmpRun::Attach(ReceivingSocket socket, const SocketFile& file) {
  if (process().gone()) return absl::FailedPreconditionError("its process is gone");
  if (connection_ != nullptr) DrainAndClose("its socket was replaced");
  if (over()) return absl::FailedPreconditionError("the run is over");
  auto connection =
      std::make_unique<MonitorConnection>(context_->loop, std::move(socket), context_->budget.get(),
                                          context_->options->command_lines.get(), this);
  connected_ticks_ = file.opened_ticks;
  if (absl::Status status = connection->Start(context_->options->greeting_timeout); !status.ok()) {
    return status;
  }
  connection_ = std::move(connection);
  ++context_->vm_descriptors;
  Hand(input::Socket{file.identity});
  return absl::OkStatus();
}

std::optional<HandedRun> QmpRun::HandOver() {
  if (over() || connection_ == nullptr || !session().CanBeHandedOver()) return std::nullopt;
  // The ends of several processes take more than one descriptor.
  if (!others().empty() || info().several_processes || needs_speaker_) return std::nullopt;
  if (tracked() && (!followed() || info().pid == 0)) return std::nullopt;
  HandedRun handed;
  std::optional<HandedMonitor> monitor = connection_->HandOver(&handed.connection);
  if (!monitor.has_value()) return std::nullopt;
  RetireConnection();
  HandOverTo(&handed);
  handed.session = session().Handed();
  handed.monitor = *std::move(monitor);
  return handed;
}

bool QmpRun::GoOn(HandedRun* handed) {
  if (!away() || !spoken_ || !handed->connection.valid() || tracked() != handed->process.valid()) {
    return false;
  }
  // The ends of several processes take more than one descriptor.
  if (!info().others.empty() || info().several_processes) return false;
  if (tracked() && !TrackHanded(std::move(handed->process)).ok()) return false;
  auto connection = std::make_unique<MonitorConnection>(
      context_->loop, ReceivingSocket(std::move(handed->connection), &context_->closer),
      context_->budget.get(), context_->options->command_lines.get(), this);
  if (!connection->GoOn(handed->monitor).ok()) {
    if (tracked()) TakeProcess();
    return false;
  }
  connection_ = std::move(connection);
  ++context_->vm_descriptors;
  answered_ = true;
  ready_since_ = Now().monotonic;
  session().GoOn(handed->session);
  return true;
}

std::unique_ptr<MonitorConnection> QmpRun::TakeConnection() {
  --context_->vm_descriptors;
  return std::move(connection_);
}

void QmpRun::Adopt(std::unique_ptr<MonitorConnection> connection, const SocketIdentity& identity) {
  connection_ = std::move(connection);
  connection_->SetDelegate(this);
  ++context_->vm_descriptors;
  spoken_ = true;
  Hand(input::Socket{identity});
}

void QmpRun::DrainAndClose(absl::string_view why) {
  connection_->Drain(kMaxDrain);
  if (connection_ == nullptr) return;
  RetireConnection();  // a child of QEMU may hold its end open
  Hand(input::MonitorClosed{why});
}

void QmpRun::RetireConnection() {
  ready_since_ = absl::InfiniteDuration();
  if (connection_ == nullptr) return;
  connection_->Close();
  --context_->vm_descriptors;
  context_->closed_connections.push_back(std::move(connection_));
}

// The process's end

void QmpRun::OnProcessGone() {
  if (connection_ != nullptr) return connection_->StartDrain();
  GoOnOrEnd();
}

void QmpRun::OnDrainCutShort() {
  context_->meters.drains_cut_short.Add();
  spdlog::warn(
      "{}: what its process sent on its monitor before it ended is not read to the end: "
      "that takes longer than {} s",
      absl::Utf8SafeCHexEscape(info().name),
      absl::ToInt64Seconds(MonitorConnection::kMaxDrainTime));
}

void QmpRun::GoOnOrEnd() {
  // The input has ended the run, or brought another process.
  if (over() || !process().gone()) return;
  switch (FollowAnother()) {
    case Next::kFollowed:
      if (connection_ == nullptr) {
        connector_->OnMonitorEnded(this, MonitorEnd::kLost, absl::ZeroDuration());
      }
      return;
    case Next::kUnknown:
      return context_->loop->SetTimerIn(&another_timer_, kAnotherRetry, [this] { GoOnOrEnd(); });
    case Next::kNone:
      break;
  }
  // A launcher may have handed its listening socket over and left.
  if (!spoken_ && (connection_ != nullptr || connector_->IsServed(this))) {
    GoOnUntracked();
    if (connection_ != nullptr) return;
    ReportHeld();
    return connector_->OnMonitorEnded(this, MonitorEnd::kHeld, absl::ZeroDuration());
  }
  if (connection_ != nullptr) {
    RetireConnection();
    Hand(input::MonitorClosed{"the process is gone"});
  }
  if (!over()) process().AwaitEnd();
}

// Speakers

void QmpRun::OnSpeaker(int64_t pid) {
  if (!context_->options->process_tracking) return;
  if (Follows(pid)) {
    spoken_ = true;
    return;
  }
  absl::StatusOr<PeerProcess> speaker = IdentifyByPid(pid);
  if (!speaker.ok()) return LeaveSpeakerUnread(pid);
  if (speaker->kind != PeerProcess::Kind::kTracked) return;  // it has ended already
  if (!spoken_) return OnFirstSpeaker(*std::move(speaker));
  if (others().full() || Room() <= 0) return LeaveSpeakerUnread(pid);
  AddProcess(*std::move(speaker));
}

void QmpRun::OnFirstSpeaker(PeerProcess speaker) {
  const bool has_room = followed() || context_->vm_descriptors < context_->max_vm_descriptors;
  if (published() && !has_room) return LeaveSpeakerUnread(speaker.pid);
  absl::StatusOr<std::optional<PeerProcess>> proxy = TakeItsProxy(speaker);
  if (!proxy.ok()) return LeaveSpeakerUnread(speaker.pid);
  std::optional<PeerProcess> listener = *std::move(proxy);
  if (!published()) return connector_->OnSpeaker(this, std::move(speaker), std::move(listener));
  spoken_ = true;
  TrackInstead(std::move(speaker)).IgnoreError();  // else the monitor's end is the run's
  if (listener.has_value() && tracked()) AddProcess(*std::move(listener));
}

absl::StatusOr<std::optional<PeerProcess>> QmpRun::TakeItsProxy(const PeerProcess& speaker) {
  const bool younger = speaker.start_ticks == 0 || speaker.start_ticks >= connected_ticks_;
  if (!younger) return std::nullopt;
  if (tracked()) {
    if (!followed() || process_ended() || info().pid == 0) return std::nullopt;
    if (!RunSameProgram(info().pid, speaker.pid)) return std::nullopt;
    return TakeProcess();
  }
  // One that has not the name of a QEMU is not followed by itself.
  absl::StatusOr<PeerProcess> listener = IdentifyPeer(connection_->descriptor());
  if (absl::IsResourceExhausted(listener.status())) return listener.status();
  if (!listener.ok() || listener->kind != PeerProcess::Kind::kTracked || listener->pid == 0 ||
      listener->pid == speaker.pid || !RunSameProgram(listener->pid, speaker.pid)) {
    return std::nullopt;
  }
  return *std::move(listener);
}

void QmpRun::LeaveSpeakerUnread(int64_t pid) {
  context_->meters.speakers_left_unread.Add();
  if (!tracked() && !published()) return connector_->OnSpeakerUnread(this);
  const bool crowded = spoken_ && others().full();
  RetireConnection();
  const absl::StatusOr<PeerProcess> speaker =
      context_->spares.Do([pid] { return IdentifyByPid(pid); });
  if (!spoken_) {
    // The process that listens still counts.
  } else if (!speaker.ok()) {
    AddWaitingProcess({.pid = pid});
  } else if (speaker->kind == PeerProcess::Kind::kTracked) {
    AddWaitingProcess({.pid = pid, .start_ticks = speaker->start_ticks});
  }
  const absl::string_view why = crowded ? kCrowded : kOutOfDescriptorsProblem;
  Hand(input::MonitorClosed{why});
  if (process().gone()) return GoOnOrEnd();
  ReportProblem(why);
  connector_->OnMonitorEnded(this, MonitorEnd::kProtocol, absl::ZeroDuration());
}

// The monitor

void QmpRun::OnReady(const MonitorInfo& info) {
  const Instant now = Now();
  silence_logged_ = protocol_error_logged_ = false;
  ready_since_ = now.monotonic;
  if (std::exchange(answered_, true)) context_->meters.monitor_reconnects.Add();
  process().NoteBegun();
  connector_->OnMonitorReady(this, info.uuid);
  Hand(input::MonitorReady{info});
}

void QmpRun::OnEvent(const QmpEvent& event) { HearEvent(event); }

void QmpRun::OnRunStateReply(absl::string_view run_state) {
  if (run_state == "postmigrate") {
    spdlog::info("{} was migrated away", absl::Utf8SafeCHexEscape(info().name));
  }
  Hand(input::StateAnswer{run_state});
}

void QmpRun::OnGuestAgentReply(const GuestAgentInfo& agent) {
  spdlog::debug("{} has answered everything", absl::Utf8SafeCHexEscape(info().name));
  Hand(input::AgentAnswer{agent});
}

void QmpRun::OnClosed(absl::string_view why, bool protocol_error) {
  const std::string reason(why);
  const bool greeted = connection_->greeted();
  const Instant now = Now();
  const absl::Duration answered_for = std::max(absl::ZeroDuration(), now.monotonic - ready_since_);
  RetireConnection();
  if (process().gone()) {
    Hand(input::MonitorClosed{reason});
    return GoOnOrEnd();
  }
  if (protocol_error) {
    context_->meters.protocol_errors.Add();
    if (!std::exchange(protocol_error_logged_, true)) {
      spdlog::warn("the monitor of {} is closed: {}", absl::Utf8SafeCHexEscape(info().name),
                   reason);
    }
  }
  if (!greeted && !published()) {
    // The socket took the connection and QEMU went away before it looked at it: nothing was seen.
    const Connector::Silent silent = connector_->NoteSilent(this);
    if (silent == Connector::Silent::kForeign || (!tracked() && !protocol_error) ||
        (silent == Connector::Silent::kOneOfSeveral && protocol_error)) {
      return Discard();
    }
  }
  Hand(input::MonitorClosed{reason});
  if (protocol_error) {
    ReportProblem(absl::StrCat("monitor closed by vmeventd: ", reason));
  } else if (!tracked()) {
    return End();
  }
  connector_->OnMonitorEnded(this, protocol_error ? MonitorEnd::kProtocol : MonitorEnd::kLost,
                             answered_for);
}

void QmpRun::OnGreetingLate() {
  if (!published()) {
    if (!tracked() && connector_->ListensAsQemu(this)) return Discard();
    if (needs_speaker_ || connector_->NoteSilent(this) != Connector::Silent::kOnlyOne) {
      return Discard();
    }
  }
  RetireConnection();
  if (process().gone()) return GoOnOrEnd();
  // Our place in QEMU's queue may be the manager's: it is given up for a while.
  if (!std::exchange(silence_logged_, true)) {
    spdlog::warn("{}: {}; vmevents doctor says more", absl::CHexEscape(info().raw_path()),
                 session().NoGreeting(Now()));
  }
  ReportHeld();
  connector_->OnMonitorEnded(this, MonitorEnd::kHeld, absl::ZeroDuration());
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
