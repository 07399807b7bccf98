#include "watcher/qmp/qmp_run.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/system.h"
#include "spdlog/spdlog.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/runs/process.h"

namespace vmeventd {

QmpRun::QmpRun(QmpContext* context, Owner* owner, Connector* connector, VmSession session)
    : VmRun(context, owner, std::move(session)),
      context_(context),
      connector_(connector),
      spoken_(answered()) {}

QmpRun::~QmpRun() { QmpRun::Disconnect(); }

void QmpRun::Disconnect() { RetireConnection(); }

absl::Status QmpRun::Attach(ReceivingSocket socket, const SocketFile& file) {
  if (process().gone()) return absl::FailedPreconditionError("its process is gone");
  if (connection_ != nullptr) DrainAndClose("its socket was replaced");
  if (over()) return absl::FailedPreconditionError("the run is over");
  auto connection =
      std::make_unique<MonitorConnection>(context_->loop, std::move(socket), context_->budget.get(),
                                          context_->options->command_lines.get(), this);
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
  if (needs_speaker_) return std::nullopt;
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
  connection_->Drain();
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
  const bool connected = connection_ != nullptr;
  if (connected) connection_->Drain();
  // Another process that has the monitor open and never spoke on it, such as a helper of QEMU's,
  // does not count. If the connection is closed, that was the end.
  if (!connected || connection_ != nullptr) EndWithProcess();
}

void QmpRun::EndWithProcess() {
  // The input has ended the run, or brought another process.
  if (over() || !process().gone()) return;
  if (connection_ != nullptr) {
    RetireConnection();
    Hand(input::MonitorClosed{"the process is gone"});
  }
  if (!over()) process().AwaitEnd();
}

// Speakers

std::string QmpRun::OnSpeaker(int64_t pid) {
  // Without a process, or in a foreign PID namespace, nobody knows who is QEMU.
  if (!context_->options->process_tracking || (spoken_ && (!tracked() || info().pid == 0)))
    return "";
  if (pid == info().pid) {
    spoken_ = true;
    return "";
  }
  if (spoken_) {
    return absl::StrCat("another process, ", pid, ", speaks on it than the VM's, ", info().pid);
  }
  absl::StatusOr<PeerProcess> speaker = IdentifyByPid(pid);
  if (speaker.ok() && speaker->kind != PeerProcess::Kind::kTracked) return "";  // it has ended
  if (!published()) {
    if (speaker.ok()) {
      connector_->OnSpeaker(this, *std::move(speaker));
    } else {
      connector_->OnSpeakerUnread(this);
    }
    return "";
  }
  const bool has_room = followed() || context_->vm_descriptors < context_->max_vm_descriptors;
  if (!speaker.ok() || !has_room) return kOutOfDescriptorsProblem;
  spoken_ = true;
  TrackInstead(*std::move(speaker)).IgnoreError();  // else the monitor's end is the run's
  return "";
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
    return EndWithProcess();
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
  if (process().gone()) return EndWithProcess();
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
