// The meaning of each of QEMU's events for a run (docs/internals/qemu.md).

#include <initializer_list>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/guest_panic.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/qmp_message.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

// One guest reboot gives two or three RESET events within 50 ms (docs/internals/qemu.md).
constexpr absl::Duration kResetWindow = absl::Milliseconds(250);

// Returns QEMU's word in one line. Empty: there is none.
std::string Word(const QmpObject& data, const char* member) { return QmpLine(data, member, 128); }

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

// Returns " by its guest (guest-reset)", as far as this version of QEMU reports it.
std::string DescribeReset(const v1::ResetDetail& reset) {
  return absl::StrCat(!reset.has_by_guest() ? ""
                      : reset.by_guest()    ? " by its guest"
                                            : " by the host",
                      reset.reason().empty() ? "" : absl::StrCat(" (", reset.reason(), ")"));
}

}  // namespace

VmSession::EventHandler VmSession::HandlerOf(absl::string_view event) {
  using Of = VmSession*;
  using Event = const QmpEvent&;
  static constexpr std::pair<absl::string_view, EventHandler> kHandlers[] = {
      {"SHUTDOWN", [](Of of, Event sent, Instant now) { of->OnShutdown(sent, now); }},
      {"POWERDOWN",
       [](Of of, Event sent, Instant now) {
         of->saved_.evidence.SawPowerdown(of->SentAt(sent, now), now);
         of->Report(EventType::kPowerdownRequested, "the host pressed the power button", sent, now);
       }},
      {"RESET", [](Of of, Event sent, Instant now) { of->OnReset(sent, now); }},
      {"STOP", [](Of of, Event sent, Instant now) { of->OnStop(sent, now); }},
      {"RESUME",
       [](Of of, Event sent, Instant now) {
         const bool was_running = of->saved_.vm.state == VmState::kRunning;
         of->ApplyRunState("running", "RESUME", now);
         if (of->started_ && !was_running) {
           of->Report(EventType::kResumed, "the VM runs again", sent, now);
         }
       }},
      {"GUEST_PANICKED", [](Of of, Event sent, Instant now) { of->OnPanic(sent, now); }},
      {"GUEST_CRASHLOADED", [](Of of, Event sent, Instant now) { of->OnPanic(sent, now); }},
      {"GUEST_PVSHUTDOWN",
       [](Of of, Event sent, Instant now) {
         of->Report(EventType::kPvshutdownRequested,
                    "the guest asked its pvpanic device for its shutdown", sent, now);
       }},
      {"WATCHDOG",
       [](Of of, Event sent, Instant now) {
         of->saved_.evidence.SawWatchdog(QmpText(sent.data, "action"), of->SentAt(sent, now), now);
         of->Report(EventType::kWatchdogExpired, "the guest did not feed its watchdog", sent, now);
       }},
      {"SUSPEND",
       [](Of of, Event sent, Instant now) {
         of->saved_.vm.Set(VmState::kSuspended, now.wall);
         of->Report(EventType::kSuspended, "the guest sleeps", sent, now);
       }},
      {"WAKEUP",
       [](Of of, Event sent, Instant now) {
         const bool is_paused = of->saved_.evidence.facts.paused != Fact::kNone;
         of->saved_.vm.Set(is_paused ? VmState::kPaused : VmState::kRunning, now.wall);
         if (is_paused) of->poll_.AskSoon(now.monotonic);
         of->Report(EventType::kWoken, "the guest woke up", sent, now);
       }},
      {"SUSPEND_DISK",
       [](Of of, Event sent, Instant now) {
         of->saved_.evidence.SawHibernation(now);
         of->Report(EventType::kHibernating, "the guest hibernates", sent, now);
       }},
      {"VSERPORT_CHANGE", [](Of of, Event sent, Instant now) { of->OnPortChange(sent, now); }},
      {"BLOCK_IO_ERROR", [](Of of, Event sent, Instant now) { of->OnIoError(sent, now); }},
      {"BLOCK_JOB_ERROR", [](Of of, Event sent, Instant now) { of->OnIoError(sent, now); }},
      {"BLOCK_IMAGE_CORRUPTED", [](Of of, Event sent, Instant now) { of->OnIoError(sent, now); }},
      {"MEMORY_FAILURE", [](Of of, Event sent, Instant now) { of->OnMemoryFailure(sent, now); }},
      {"MIGRATION", [](Of of, Event sent, Instant now) { of->OnMigration(sent, now); }},
  };
  for (const auto& [name, handler] : kHandlers) {
    if (name == event) return handler;
  }
  return nullptr;
}

void VmSession::Report(EventType type, absl::string_view message, const QmpEvent& event,
                       Instant now, v1::Event out) {
  // When a manager starts a VM, it resets and resumes it before QEMU has reported its name and
  // version.
  const bool is_of_start =
      type == EventType::kReset || type == EventType::kResumed || type == EventType::kPaused;
  if (!started_ && link_.state() == MonitorLink::State::kNone && is_of_start) return;
  EnsureStarted(now);
  if (!Admit(type, now)) return;
  out.set_type(ToProto(type));
  out.set_message(std::string(message));
  if (!saved_.run.is_container) {
    if (event.time.has_value()) *out.mutable_qemu_time() = ToTimestamp(*event.time);
    out.set_qmp_event(event.name);
    out.set_detail_json(event.detail_json);
  }
  PublishEvent(std::move(out), now);
}

void VmSession::OnShutdown(const QmpEvent& event, Instant now) {
  // If this SHUTDOWN answers a late signal, it ends the wait that the signal began.
  if (!saved_.evidence.facts.shutdown.has_value()) ForgetExit();
  saved_.exit.Begin(now);
  StopAsking();
  // The first cause wins.
  if (saved_.evidence.facts.shutdown.has_value()) return;
  const std::string reason = QmpText(event.data, "reason");
  ShutdownFact fact;
  fact.reason = ParseShutdownReason(reason);
  fact.guest = QmpBool(event.data, "guest");
  // The name of a reason that is newer than this program still shows whose it is.
  if (!fact.guest.has_value() && absl::StartsWith(reason, "host-")) fact.guest = false;
  if (!fact.guest.has_value() && absl::StartsWith(reason, "guest-")) fact.guest = true;
  const Instant sent_at = SentAt(event, now);
  fact.caveat = saved_.agent.CaveatAt(sent_at.monotonic, options_->powerdown_window);
  BeginListening(sent_at);
  if (saved_.unseen_until.has_value()) {
    fact.unseen_age = sent_at.monotonic - saved_.unseen_until->monotonic;
  }
  link_.OnShutdown();

  std::string what = "SHUTDOWN";
  if (!reason.empty()) {
    absl::StrAppend(&what, " reason=", reason);
  } else if (fact.guest.has_value()) {
    absl::StrAppend(&what, " guest=", *fact.guest ? "true" : "false");
  }
  saved_.evidence.SawShutdown(fact, std::move(what), event, sent_at, now);
  // Most QEMUs end at once, which STOPPED reports. A QEMU that stays alive sends STOP, or is found
  // by DownReport().
  if (!started_) saved_.vm.Set(VmState::kGuestDown, now.wall);
}

void VmSession::OnReset(const QmpEvent& event, Instant now) {
  saved_.evidence.Clear(EvidenceLog::kReset, "RESET", now);
  saved_.unseen_until.reset();
  saved_.agent.SawReset();
  ReconsiderIntent();
  ForgetExit();
  saved_.problems.Set(Subject::kRun, {});
  if (saved_.vm.state != VmState::kRunning) {
    const bool is_paused = saved_.evidence.facts.paused != Fact::kNone;
    saved_.vm.Set(is_paused ? VmState::kPaused : VmState::kRunning, now.wall);
    if (is_paused) poll_.AskSoon(now.monotonic);
  }

  const bool repeated = now.monotonic - last_reset_ < kResetWindow;
  last_reset_ = now.monotonic;
  if (!repeated) {
    v1::Event out;
    const std::optional<bool> by_guest = QmpBool(event.data, "guest");
    if (by_guest.has_value()) out.mutable_reset()->set_by_guest(*by_guest);
    out.mutable_reset()->set_reason(Word(event.data, "reason"));
    const std::string message = absl::StrCat("the VM was reset", DescribeReset(out.reset()));
    Report(EventType::kReset, message, event, now, std::move(out));
  }
  RevokeShutdownFile();
}

void VmSession::OnStop(const QmpEvent& event, Instant now) {
  saved_.evidence.SawStop(now);
  if (saved_.evidence.facts.shutdown.has_value()) {
    saved_.evidence.facts.stays_down = true;
    ForgetExit();
    saved_.vm.Set(VmState::kGuestDown, now.wall);
    Report(EventType::kGuestShutdown, "the guest is down and QEMU keeps running (-no-shutdown)",
           event, now);
    return;
  }
  // A manager reports by itself how a migration goes.
  saved_.evidence.facts.stop_unexplained = saved_.run.has_manager ? Fact::kNone : Fact::kStands;
  const bool panicked = saved_.evidence.facts.panic == Fact::kStands;
  saved_.vm.Set(panicked ? VmState::kGuestDown : VmState::kPaused, now.wall);
  if (saved_.problems.Of(Subject::kRun).code == ProblemCode::kIoError) {
    saved_.vm.SetPauseReason("io-error");
  } else if (saved_.evidence.facts.watchdog_paused != Fact::kNone) {
    saved_.vm.SetPauseReason("watchdog");
  } else if (saved_.evidence.facts.finishing_migration != Fact::kNone) {
    saved_.vm.SetPauseReason("finish-migrate");
  }
  // Before STARTED the state is all there is to report: query-status will report it.
  if (started_) Report(EventType::kPaused, "the VM was paused", event, now);
  poll_.AskSoon(now.monotonic);
}

void VmSession::OnPanic(const QmpEvent& event, Instant now) {
  v1::Event out;
  *out.mutable_panic() = ParseGuestPanic(event.data);
  const std::string& action = out.panic().action();
  if (action == "pause" || action == "poweroff") saved_.vm.Set(VmState::kGuestDown, now.wall);
  saved_.evidence.SawPanic(event, now);
  Report(EventType::kGuestPanicked, "the guest's kernel panicked", event, now, std::move(out));
}

void VmSession::OnIoError(const QmpEvent& event, Instant now) {
  const std::string error = DescribeIoError(event.data);
  // The STOP follows. A job that stops leaves the VM as it is. Several requests fail at once: the
  // first is enough.
  if (event.name == "BLOCK_IO_ERROR" && QmpText(event.data, "action") == "stop" &&
      saved_.problems.Of(Subject::kRun).code != ProblemCode::kIoError) {
    saved_.problems.Set(Subject::kRun,
                        {ProblemCode::kIoError, absl::StrCat(kIoErrorProblem, ": ", error)});
    saved_.evidence.Saw(absl::StrCat("I/O error, for which QEMU paused the VM: ", error), now,
                        EvidenceId::kIoError);
  }
  const absl::string_view what = event.name == "BLOCK_JOB_ERROR" ? "a block job met an I/O error"
                                 : event.name == "BLOCK_IMAGE_CORRUPTED"
                                     ? "a disk image of the VM is corrupt"
                                     : "a disk of the VM met an I/O error";
  v1::Event out;
  v1::IoErrorDetail* const detail = out.mutable_io_error();
  detail->set_device(Word(event.data, "device"));
  detail->set_node_name(Word(event.data, "node-name"));
  detail->set_operation(Word(event.data, "operation"));
  detail->set_action(Word(event.data, "action"));
  const std::optional<bool> no_space = QmpBool(event.data, "nospace");
  if (no_space.has_value()) detail->set_no_space(*no_space);
  Report(EventType::kIoError, absl::StrCat(what, error.empty() ? "" : ": ", error), event, now,
         std::move(out));
}

void VmSession::OnMemoryFailure(const QmpEvent& event, Instant now) {
  const auto flags = event.data.find("flags");
  const QmpObject none = QmpObject::object();
  const QmpObject& of = flags == event.data.end() ? none : *flags;
  v1::Event out;
  v1::MemoryFailureDetail* const detail = out.mutable_memory_failure();
  detail->set_recipient(Word(event.data, "recipient"));
  detail->set_action(Word(event.data, "action"));
  detail->set_action_required(QmpBool(of, "action-required").value_or(false));
  detail->set_recursive(QmpBool(of, "recursive").value_or(false));
  Report(EventType::kMemoryFailure, "the VM's memory failed", event, now, std::move(out));
}

void VmSession::OnPortChange(const QmpEvent& event, Instant now) {
  const std::string port = QmpText(event.data, "id");
  const std::optional<bool> open = QmpBool(event.data, "open");
  if (port.empty() || !open.has_value()) return;
  if (saved_.agent.SawPort(port, *open, now)) effects_.push_back(AskQemu{Question::kGuestAgent});
}

void VmSession::OnMigration(const QmpEvent& event, Instant now) {
  const std::string status = QmpText(event.data, "status");
  v1::Event out;
  out.mutable_migration()->set_status(Word(event.data, "status"));
  Report(
      EventType::kMigration,
      absl::StrCat("the migration's status changed", status.empty() ? "" : " to ", OneLine(status)),
      event, now, std::move(out));
  // `completed` comes on both sides; only the source is then in `postmigrate`.
  if (status == "completed") poll_.AskSoon(now.monotonic);
  if (saved_.run.has_manager) {
    saved_.evidence.SawMigration(status, now);
  } else {
    saved_.evidence.SawMonitorMigration(status, now);
  }
  if (status == "failed" && saved_.evidence.facts.incoming != Fact::kNone) {
    saved_.evidence.Saw("MIGRATION status=failed", now, EvidenceId::kNotRunning);
  }
}

}  // namespace vmeventd
