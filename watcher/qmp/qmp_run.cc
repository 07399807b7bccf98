#include "watcher/qmp/qmp_run.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "spdlog/spdlog.h"
#include "watcher/core/managers.h"
#include "watcher/qmp/qmp_source.h"
#include "watcher/qmp/socket_problems.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/peer_process.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/vm_run.h"

namespace vmeventd {
namespace {

constexpr char kNotAVm[] =
    "its QMP server runs no VM (qemu-storage-daemon, for example): vmeventd leaves it alone";

}  // namespace

QmpRun::QmpRun(RunContext* context, RunTable* table, QmpSource* source, VmSession session)
    : VmRun(context, table, std::move(session)),
      source_(source),
      sockets_{.run = this},
      process_was_known_(tracked()),
      greeted_(VmRun::session().answered()) {}

QmpRun::~QmpRun() { RetireConnection(); }

std::unique_ptr<MonitorConnection> QmpRun::NewConnection(ReceivingSocket socket) {
  return std::make_unique<MonitorConnection>(context_->loop, std::move(socket), source_->budget(),
                                             context_->options->command_lines.get(), this);
}

absl::Status QmpRun::Attach(ReceivingSocket socket, const SocketIdentity& identity) {
  if (process().gone()) return absl::FailedPreconditionError("its process is gone");
  ReadNow();
  if (connection_ != nullptr) {
    RetireConnection();  // a child of QEMU may hold its end open
    Feed(input::MonitorClosed{"its socket was replaced"});
  }
  if (over()) return absl::FailedPreconditionError("the run is over");
  std::unique_ptr<MonitorConnection> connection = NewConnection(std::move(socket));
  if (absl::Status status = connection->Start(context_->options->greeting_timeout); !status.ok()) {
    return status;
  }
  connection_ = std::move(connection);
  ++context_->vm_descriptors;
  Feed(input::Socket{identity});
  return absl::OkStatus();
}

std::optional<HandedRun> QmpRun::HandOver() {
  if (over() || connection_ == nullptr || !session().CanBeHandedOver()) return std::nullopt;
  if (tracked() && (!followed() || info().pid == 0)) return std::nullopt;
  HandedRun handed;
  if (!connection_->HandOver(&handed)) return std::nullopt;
  RetireConnection();
  HandOverTo(&handed);
  return handed;
}

bool QmpRun::ResumeFrom(HandedRun* handed) {
  // Another QEMU may have bound its path since: that one's socket is not read here.
  if (sockets_.home->spec < 0 || !session().restored_unattached() || !greeted_ ||
      !handed->connection.valid() || tracked() != handed->process.valid()) {
    return false;
  }
  if (tracked() && !TrackHanded(std::move(handed->process)).ok()) return false;
  std::unique_ptr<MonitorConnection> connection =
      NewConnection(ReceivingSocket(std::move(handed->connection), &context_->closer));
  if (!connection->ResumeFrom(handed->state).ok()) {
    if (tracked()) process().Release();
    return false;
  }
  connection_ = std::move(connection);
  ++context_->vm_descriptors;
  answered_ = true;
  ready_since_ = Now().monotonic;
  Feed(input::TakenOver{});
  return true;
}

void QmpRun::RetireConnection() {
  ready_since_ = absl::InfiniteDuration();
  if (connection_ == nullptr) return;
  connection_->Close();
  --context_->vm_descriptors;
  source_->Retire(std::move(connection_));
}

void QmpRun::Ask(Question question) {
  if (connection_ != nullptr) connection_->Request(question);
}

std::function<bool()> QmpRun::OwnsName() const {
  const SocketSlot& home = *sockets_.home;
  if (home.run() != nullptr && home.run() != this) return nullptr;
  if (!session().restored_unattached()) return [] { return true; };
  // A later run may exist that is not known yet.
  std::optional<InodeKey> inode;
  if (home.run() == this) inode = InodeOf(home.socket);
  return [path = home.path, socket = info().socket, inode] {
    SeenSocket there;
    return LookAtSocket(path, &there) != 0 || there.identity == socket ||
           InodeOf(there.identity) == inode;
  };
}

DirectoryThread* QmpRun::Thread() const { return source_->ThreadOf(sockets_.home->spec); }

// The process

void QmpRun::OnProcessGone() {
  const bool connected = connection_ != nullptr;
  if (connected) connection_->Drain();
  // Another process that has the monitor open and never sent on it, such as a helper of QEMU's,
  // does not count. If the connection is closed, that was the end.
  if (!connected || connection_ != nullptr) EndWithProcess();
}

void QmpRun::EndWithProcess() {
  if (over() || !process().gone()) return;  // the input has ended the run
  if (connection_ != nullptr) {
    RetireConnection();
    Feed(input::MonitorClosed{"the process is gone"});
  }
  const auto* const read = command_line_.get();
  const QemuArguments* const found = read != nullptr && read->done() ? read->found() : nullptr;
  if (found != nullptr) {
    Feed(input::ArgumentsRead{found->traits.stays_down, found->traits.guest_can_exit});
  }
  if (!over()) process().AwaitEnd();
}

std::string QmpRun::OnSender(int64_t pid) {
  if (!context_->options->process_tracking) return "";
  if (tracked()) {
    greeted_ = true;
    // In a foreign PID namespace the sender is not known.
    if (pid == info().pid || info().pid == 0) return "";
    return absl::StrCat("process ", pid, " answers on it instead of the VM's process ", info().pid);
  }
  if (greeted_) return "";  // it is not known who is QEMU
  absl::StatusOr<PeerProcess> sender = IdentifyByPid(pid);
  if (sender.ok() && sender->kind != PeerProcess::Kind::kTracked) return "";  // it has ended
  if (!sender.ok() || context_->vm_descriptors >= context_->max_vm_descriptors) {
    if (published()) return kOutOfDescriptorsProblem;
    source_->OnNoVm(this, {ProblemCode::kOutOfDescriptors, kOutOfDescriptorsProblem});
    return "";
  }
  greeted_ = true;
  if (!published() && source_->ReleaseToOther(this, *sender)) return "";
  TrackInstead(*std::move(sender)).IgnoreError();  // else the monitor's end is the run's
  return "";
}

// The monitor

void QmpRun::OnCommandLine(const CommandLineRead& command_line) {
  const Manager* const owner = command_line.OwnerOf(InodeOf(sockets_.home->socket));
  if (owner == nullptr || published() || context_->options->sources.watch_manager_sockets) return;
  source_->OnNoVm(this, ManagersOwnProblem(*owner));
}

void QmpRun::OnReady(const MonitorInfo& info) {
  silence_logged_ = protocol_error_logged_ = false;
  ready_since_ = Now().monotonic;
  if (std::exchange(answered_, true)) source_->meters().monitor_reconnects.Add();
  process().RefreshOrigin();
  if (!published() && info.run_state != "inmigrate" &&
      source_->path_check().IsNamedAfterAnother(*this, info.qemu_name)) {
    Feed(input::OwnName{info.qemu_name});
  }
  source_->OnMonitorReady(this, info.uuid);
  // Before STARTED, which has them.
  if (!info.traits.labels.empty()) Feed(input::NewLabels{info.traits.labels});
  Feed(input::MonitorReady{info});
}

void QmpRun::OnRunStateReply(absl::string_view run_state) {
  if (run_state == "postmigrate") {
    spdlog::info("{} was migrated away, or its memory was saved to a file",
                 absl::Utf8SafeCHexEscape(info().name));
  }
  Feed(input::StateAnswer{run_state});
}

void QmpRun::OnClosed(absl::string_view why, bool protocol_error) {
  const std::string reason(why);
  const bool greeted = connection_->greeted();
  const bool runs_no_vm = connection_->runs_no_vm();
  const absl::Duration answered_for =
      std::max(absl::ZeroDuration(), Now().monotonic - ready_since_);
  RetireConnection();
  if (process().gone()) {
    Feed(input::MonitorClosed{reason});
    return EndWithProcess();
  }
  if (runs_no_vm && !published()) return source_->OnNoVm(this, {ProblemCode::kNotAVm, kNotAVm});
  if (protocol_error) {
    source_->meters().protocol_errors.Add();
    if (!std::exchange(protocol_error_logged_, true)) {
      spdlog::warn("closing the monitor of {}: {}", absl::Utf8SafeCHexEscape(info().name), reason);
    }
  }
  // The program behind the socket closed the connection without a greeting, or it does not speak
  // QMP.
  if (!greeted && !published() && !process_was_known_) {
    return source_->OnNoVm(
        this, {ProblemCode::kNotQmp, absl::StrCat("no QMP greeting was received: ", reason)});
  }
  Feed(input::MonitorClosed{reason});
  // A missing SHUTDOWN is no evidence where its process was gone before it could be followed.
  if (protocol_error || (awaits_sender() && sockets_.listener_seen)) Feed(input::ShutdownMissed{});
  if (protocol_error) {
    ReportProblem({ProblemCode::kNotQmp, absl::StrCat("monitor closed by vmeventd: ", reason)});
  } else if (!tracked()) {
    return End();
  }
  source_->OnMonitorEnded(this, protocol_error ? MonitorEnd::kProtocol : MonitorEnd::kLost,
                          answered_for);
}

void QmpRun::OnGreetingLate() {
  if (!published() && !process_was_known_)
    return source_->OnNoVm(this, session().NoGreeting(Now()));
  RetireConnection();
  if (process().gone()) return EndWithProcess();
  CommandLines* const command_lines = context_->options->command_lines.get();
  if (command_line_ == nullptr && command_lines != nullptr && info().pid != 0) {
    command_line_ = command_lines->Begin(info().pid);
  }
  // The connection may have the manager's place in QEMU's queue: it is closed for a while.
  if (!std::exchange(silence_logged_, true)) {
    spdlog::warn("{}: {}; `vmevents doctor` shows who holds it", absl::CHexEscape(info().raw_path),
                 session().NoGreeting(Now()).text);
  }
  Feed(input::MonitorHeld{});
  source_->OnMonitorEnded(this, MonitorEnd::kHeld, absl::ZeroDuration());
}

// A QEMU that gets its connection during its start may accept it on its monitor thread, while its
// main thread waits in accept(2) for another one, which blocks the whole VM (measured:
// docs/internals/qemu.md). One more connection releases it. It is closed at once, so no other
// client loses its place.
void QmpRun::OnReplyLate(bool last) {
  Thread()->Run(
      [path = std::string(info().raw_path), closer = &context_->closer]() -> DirectoryThread::Then {
        SocketFile file;
        UniqueFd nudge;
        if (OpenSocketFile(path, &file) == 0) ConnectTo(file, &nudge);
        return [nudge = std::move(nudge), closer]() mutable {
          ReceivingSocket(std::move(nudge), closer).Reset();
        };
      },
      [] {});
  if (!last) return;
  spdlog::warn("QEMU does not answer on the monitor of {}", absl::Utf8SafeCHexEscape(info().name));
  ReportProblem({ProblemCode::kNoAnswer, "QEMU does not answer on its monitor"});
}

}  // namespace vmeventd
