// Meaning of each QMP event for a run: docs/internals/qemu.md.

#include <initializer_list>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "watcher/core/names.h"
#include "watcher/core/qmp_message.h"
#include "watcher/session/reporter.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

// One guest reboot gives two or three RESET events within 50 ms (docs/internals/qemu.md).
constexpr absl::Duration kResetWindow = absl::Milliseconds(250);

// A word of QEMU's, in one line. Empty: it has none.
std::string Word(const QmpObject& data, const char* member) {
  constexpr size_t kMaxTextBytes = 128;
  return std::string(Utf8Prefix(OneLine(QmpText(data, member)), kMaxTextBytes));
}

// "write on virtio0: No space left on device". A disk without a device's name has that of its node.
std::string DescribeIoError(const QmpObject& data) {
  const auto first_of = [&](std::initializer_list<const char*> members) {
    for (const char* const member : members) {
      if (std::string text = Word(data, member); !text.empty()) return text;
    }
    return std::string();
  };
  const std::string where = first_of({"device", "node-name", "qom-path"});
  const std::string reason = first_of({"reason", "msg"});
  std::string text = Word(data, "operation");
  if (!where.empty()) absl::StrAppend(&text, text.empty() ? "" : " ", "on ", where);
  if (!reason.empty()) absl::StrAppend(&text, text.empty() ? "" : ": ", reason);
  return text;
}

// "by its guest (guest-reset)", as far as this QEMU says it.
std::string DescribeReset(const ResetDetail& reset) {
  return absl::StrCat(!reset.by_guest.has_value() ? ""
                      : *reset.by_guest           ? " by its guest"
                                                  : " by the host",
                      reset.reason.empty() ? "" : absl::StrCat(" (", reset.reason, ")"));
}

}  // namespace

struct VmSession::KnownEvent {
  absl::string_view name;
  void (VmSession::*handler)(const QmpEvent&, Instant);  // null: it is reported, and no evidence
  EventType type = EventType::kGap;                      // of one without a handler, as the next
  absl::string_view message = "";
};

const VmSession::KnownEvent* VmSession::Find(absl::string_view event) {
  static constexpr KnownEvent kEvents[] = {
      {"SHUTDOWN", &VmSession::OnShutdown},
      {"POWERDOWN", &VmSession::OnPowerdown},
      {"RESET", &VmSession::OnReset},
      {"STOP", &VmSession::OnStop},
      {"RESUME", &VmSession::OnResume},
      {"GUEST_PANICKED", &VmSession::OnPanic},
      {"GUEST_CRASHLOADED", &VmSession::OnPanic},
      {"GUEST_PVSHUTDOWN", nullptr, EventType::kPvshutdownRequested,
       "the guest asked its pvpanic device for its shutdown"},
      {"WATCHDOG", &VmSession::OnWatchdog},
      {"SUSPEND", &VmSession::OnSuspend},
      {"WAKEUP", &VmSession::OnWakeup},
      {"SUSPEND_DISK", &VmSession::OnSuspendDisk},
      {"VSERPORT_CHANGE", &VmSession::OnPortChange},
      {"BLOCK_IO_ERROR", &VmSession::OnIoError},
      {"BLOCK_JOB_ERROR", &VmSession::OnIoError},
      {"BLOCK_IMAGE_CORRUPTED", &VmSession::OnIoError},
      {"MEMORY_FAILURE", &VmSession::OnMemoryFailure},
      {"MIGRATION", &VmSession::OnMigration},
  };
  for (const KnownEvent& known : kEvents) {
    if (known.name == event) return &known;
  }
  return nullptr;
}

void VmSession::Handle(const input::Event& input, Instant now) {
  saved_.evidence.SetMonitored(true);
  const KnownEvent* const known = Find(input.event.name);
  if (known == nullptr) return;
  if (known->handler == nullptr) return Report(known->type, known->message, input.event, now);
  (this->*known->handler)(input.event, now);
}

void VmSession::Report(EventType type, absl::string_view message, const QmpEvent& event,
                       Instant now, EventDetail detail) {
  EnsureStarted(now);
  if (!Admit(type, now)) return;
  VmEvent out = MakeEvent(type, std::string(message), now);
  if (ReporterOf(saved_.run).has_qemu) {
    out.qemu_time = event.time;
    out.qmp_event = event.name;
    out.detail_json = event.detail_json;
  }
  if (detail.index() != 0) out.detail = std::move(detail);
  if (type == EventType::kGuestShutdown) out.shutdown = MakeDetail();
  PublishEvent(std::move(out));
}

Instant VmSession::SaidAt(const QmpEvent& event, Instant now) const {
  const bool waited =
      goes_on_ && event.time.has_value() && *event.time < std::min(options_->started, now.wall);
  if (!waited) return now;
  return {*event.time, now.monotonic - (now.wall - *event.time)};
}

void VmSession::OnShutdown(const QmpEvent& event, Instant now) {
  // A signal that it obeys late is not what is waited for any more.
  if (!saved_.evidence.facts().shutdown.has_value()) ForgetExit();
  BeginExit(now);
  poll_at_ = absl::InfiniteDuration();
  ForgetSilence();
  // The first cause wins.
  if (saved_.evidence.facts().shutdown.has_value()) return;
  const std::string reason = QmpText(event.data, "reason");
  ShutdownFact fact;
  fact.reason = ParseShutdownReason(reason);
  fact.guest = QmpBool(event.data, "guest");
  // The name of a reason that is newer than this program still shows where it came from.
  if (!fact.guest.has_value() && absl::StartsWith(reason, "host-")) fact.guest = false;
  if (!fact.guest.has_value() && absl::StartsWith(reason, "guest-")) fact.guest = true;
  fact.caveat = AgentCaveat(now.monotonic);
  down_in_handshake_ = saved_.monitor != Monitor::kReady;

  std::string what = "SHUTDOWN";
  if (!reason.empty()) {
    absl::StrAppend(&what, " reason=", reason);
  } else if (fact.guest.has_value()) {
    absl::StrAppend(&what, " guest=", *fact.guest ? "true" : "false");
  }
  saved_.evidence.SawShutdown(fact, std::move(what), event, SaidAt(event, now), now);
  // Its QEMU mostly ends at once, which STOPPED reports. One that stays sends STOP, or is found by
  // DownReport().
  if (!started_) SetState(VmState::kGuestDown, now);
}

void VmSession::OnPowerdown(const QmpEvent& event, Instant now) {
  saved_.evidence.SawPowerdown(SaidAt(event, now), now);
  Report(EventType::kPowerdownRequested, "the host pressed the power button", event, now);
}

void VmSession::OnReset(const QmpEvent& event, Instant now) {
  saved_.evidence.SawReset(now);
  // The guest begins again without its agent; a port that is reported has had an event.
  saved_.agent.closed.reset();
  if (!saved_.agent.reported) saved_.agent.open = false;
  if (file_step_ == FileStep::kDone) file_step_ = FileStep::kUndone;
  ReconsiderIntent();
  ForgetExit();
  saved_.run_problem = {};
  if (saved_.state != VmState::kRunning) {
    SetState(saved_.evidence.paused() ? VmState::kPaused : VmState::kRunning, now);
  }

  const bool repeated = now.monotonic - last_reset_ < kResetWindow;
  last_reset_ = now.monotonic;
  if (!repeated) {
    ResetDetail reset{QmpBool(event.data, "guest"), Word(event.data, "reason")};
    const std::string message = absl::StrCat("the VM was reset", DescribeReset(reset));
    Report(EventType::kReset, message, event, now, std::move(reset));
  }
  TakeShutdownFileBack();
}

void VmSession::OnStop(const QmpEvent& event, Instant now) {
  saved_.evidence.SawStop(now);
  if (saved_.evidence.facts().shutdown.has_value()) {
    ForgetExit();
    SetState(VmState::kGuestDown, now);
    Report(EventType::kGuestShutdown, "the guest is down and QEMU keeps running (-no-shutdown)",
           event, now);
    return;
  }
  const bool panicked =
      saved_.evidence.facts().guest_panicked && !saved_.evidence.facts().panic_doubted;
  SetState(panicked ? VmState::kGuestDown : VmState::kPaused, now);
  // Before STARTED the state is all there is to report: query-status will report it.
  if (started_) Report(EventType::kPaused, "the VM was paused", event, now);
  AskSoon(now);
}

void VmSession::OnResume(const QmpEvent& event, Instant now) {
  const bool was_running = saved_.state == VmState::kRunning;
  ApplyRunState("running", "RESUME", now);
  if (started_ && !was_running) Report(EventType::kResumed, "the VM runs again", event, now);
  TakeShutdownFileBack();
}

void VmSession::OnPanic(const QmpEvent& event, Instant now) {
  GuestPanic panic = ParseGuestPanic(event.data);
  if (panic.action == "pause" || panic.action == "poweroff") SetState(VmState::kGuestDown, now);
  saved_.evidence.SawPanic(event.name, panic, now);
  Report(EventType::kGuestPanicked, "the guest's kernel panicked", event, now, std::move(panic));
}

void VmSession::OnWatchdog(const QmpEvent& event, Instant now) {
  saved_.evidence.SawWatchdog(QmpText(event.data, "action"), now);
  Report(EventType::kWatchdogExpired, "the guest did not feed its watchdog", event, now);
}

void VmSession::OnIoError(const QmpEvent& event, Instant now) {
  const std::string error = DescribeIoError(event.data);
  // The STOP follows. A job that stops leaves the VM as it is. Several requests fail at once: the
  // first is enough.
  if (event.name == "BLOCK_IO_ERROR" && QmpText(event.data, "action") == "stop" &&
      saved_.run_problem.code != ProblemCode::kIoError) {
    saved_.run_problem = {ProblemCode::kIoError, absl::StrCat(kIoErrorProblem, ": ", error)};
    saved_.evidence.SawIoError(error, now);
  }
  const absl::string_view what = event.name == "BLOCK_JOB_ERROR" ? "a block job met an I/O error"
                                 : event.name == "BLOCK_IMAGE_CORRUPTED"
                                     ? "a disk image of the VM is corrupt"
                                     : "a disk of the VM met an I/O error";
  Report(EventType::kIoError, absl::StrCat(what, error.empty() ? "" : ": ", error), event, now,
         IoErrorDetail{.device = Word(event.data, "device"),
                       .node_name = Word(event.data, "node-name"),
                       .operation = Word(event.data, "operation"),
                       .action = Word(event.data, "action"),
                       .no_space = QmpBool(event.data, "nospace")});
}

void VmSession::OnMemoryFailure(const QmpEvent& event, Instant now) {
  const auto flags = event.data.find("flags");
  const QmpObject none = QmpObject::object();
  const QmpObject& of = flags == event.data.end() ? none : *flags;
  Report(EventType::kMemoryFailure, "the VM's memory failed", event, now,
         MemoryFailureDetail{.recipient = Word(event.data, "recipient"),
                             .action = Word(event.data, "action"),
                             .action_required = QmpBool(of, "action-required").value_or(false),
                             .recursive = QmpBool(of, "recursive").value_or(false)});
}

void VmSession::OnSuspend(const QmpEvent& event, Instant now) {
  SetState(VmState::kSuspended, now);
  Report(EventType::kSuspended, "the guest sleeps", event, now);
}

void VmSession::OnWakeup(const QmpEvent& event, Instant now) {
  SetState(saved_.evidence.paused() ? VmState::kPaused : VmState::kRunning, now);
  Report(EventType::kWoken, "the guest woke up", event, now);
}

void VmSession::OnSuspendDisk(const QmpEvent& event, Instant now) {
  saved_.evidence.SawHibernation(now);
  Report(EventType::kHibernating, "the guest hibernates", event, now);
}

void VmSession::OnMigration(const QmpEvent& event, Instant now) {
  const std::string status = QmpText(event.data, "status");
  Report(
      EventType::kMigration,
      absl::StrCat("the migration's status changed", status.empty() ? "" : " to ", OneLine(status)),
      event, now, MigrationDetail{Word(event.data, "status")});
  // `completed` comes on both sides; only the source is then in `postmigrate`.
  if (status == "completed") AskSoon(now);
  if (ReporterOf(saved_.run).is_manager) saved_.evidence.SawMigration(status, now);
  if (status == "failed" && saved_.evidence.facts().incoming) {
    saved_.evidence.Saw("MIGRATION status=failed", now, EvidenceId::kNotRunning);
  }
}

}  // namespace vmeventd
