// What each QMP event means for a run: docs/qemu.md.

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "watcher/core/vm_session.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxDetailBytes = 4096;

// One guest reboot gives two or three RESET events within 50 ms (docs/qemu.md).
constexpr absl::Duration kResetWindow = absl::Milliseconds(250);

std::string TextMember(const QmpObject& data, const char* name) {
  if (!data.is_object()) return "";
  const auto it = data.find(name);
  return it != data.end() && it->is_string() ? it->get<std::string>() : "";
}

std::optional<bool> BoolMember(const QmpObject& data, const char* name) {
  if (!data.is_object()) return std::nullopt;
  const auto it = data.find(name);
  if (it == data.end() || !it->is_boolean()) return std::nullopt;
  return it->get<bool>();
}

// Events that are told but are no evidence.
struct PlainEvent {
  absl::string_view name;
  EventType type;
  absl::string_view message;
};

constexpr PlainEvent kPlainEvents[] = {
    {"BLOCK_IO_ERROR", EventType::kIoError, "a disk of the VM met an I/O error"},
    {"BLOCK_JOB_ERROR", EventType::kIoError, "a block job met an I/O error"},
    {"BLOCK_IMAGE_CORRUPTED", EventType::kIoError, "a disk image of the VM is corrupt"},
    {"MEMORY_FAILURE", EventType::kMemoryFailure, "the VM's memory failed"},
    {"MIGRATION", EventType::kMigration, "the migration's status changed"},
};

}  // namespace

Effects VmSession::OnQmpEvent(const QmpEvent& event, Instant now) {
  using Handler = Effects (VmSession::*)(const QmpEvent&, Instant);
  struct Entry {
    absl::string_view name;
    Handler handler;
  };
  static constexpr Entry kHandlers[] = {
      {"SHUTDOWN", &VmSession::OnShutdown},
      {"POWERDOWN", &VmSession::OnPowerdown},
      {"RESET", &VmSession::OnReset},
      {"STOP", &VmSession::OnStop},
      {"RESUME", &VmSession::OnResume},
      {"GUEST_PANICKED", &VmSession::OnPanic},
      {"GUEST_CRASHLOADED", &VmSession::OnPanic},
      {"WATCHDOG", &VmSession::OnWatchdog},
      {"SUSPEND_DISK", &VmSession::OnSuspendDisk},
  };
  evidence_.monitored = true;
  Effects effects;
  ExpireIntent(now, &effects);
  const auto* const entry =
      std::find_if(std::begin(kHandlers), std::end(kHandlers),
                   [&](const Entry& known) { return known.name == event.name; });
  const bool known = entry != std::end(kHandlers);
  for (Effect& effect : known ? (this->*entry->handler)(event, now) : OnOther(event, now)) {
    effects.push_back(std::move(effect));
  }
  return known ? Kept(std::move(effects)) : effects;
}

Effects VmSession::Handle(EventType type, absl::string_view message, bool limited,
                          const QmpEvent& event, Instant now) {
  Effects effects;
  if (limited && !limiter_.Admit(now.monotonic)) {
    if (first_drop_ == absl::InfiniteDuration()) first_drop_ = now.monotonic;
    last_drop_ = now.monotonic;
    return effects;
  }
  VmEvent out = MakeEvent(type, std::string(message), now);
  out.qemu_time = event.time;
  out.qmp_event = event.name;
  out.detail_json = DetailJson(event, kMaxDetailBytes);
  if (type == EventType::kGuestShutdown) out.shutdown = MakeDetail();
  Emit(std::move(out), now, &effects);
  return effects;
}

Effects VmSession::OnShutdown(const QmpEvent& event, Instant now) {
  Effects effects;
  BeginExit(now);
  // The first cause wins.
  if (evidence_.shutdown.has_value() || evidence_.shutdown_file_found) return effects;
  const std::string reason = TextMember(event.data, "reason");
  ShutdownFact fact;
  fact.reason = ParseShutdownReason(reason);
  fact.guest = BoolMember(event.data, "guest");
  // A reason that is newer than this program still says by its name where it came from.
  if (!fact.guest.has_value() && absl::StartsWith(reason, "host-")) fact.guest = false;
  if (!fact.guest.has_value() && absl::StartsWith(reason, "guest-")) fact.guest = true;
  fact.while_paused = paused_;
  if (powerdown_at_.has_value()) fact.powerdown_age = now.monotonic - powerdown_at_->monotonic;
  evidence_.shutdown = fact;
  down_in_handshake_ = monitor_ != Monitor::kReady;
  shutdown_qemu_time_ = event.time;
  shutdown_json_ = DetailJson(event, kMaxDetailBytes);

  std::string what = "SHUTDOWN";
  if (!reason.empty()) {
    absl::StrAppend(&what, " reason=", reason);
  } else if (fact.guest.has_value()) {
    absl::StrAppend(&what, " guest=", *fact.guest ? "true" : "false");
  }
  Saw(std::move(what), now);
  SetState(VmState::kGuestDown, now);
  if (started_) effects.push_back(Update(std::nullopt));
  return effects;
}

Effects VmSession::OnPowerdown(const QmpEvent& event, Instant now) {
  powerdown_at_ = now;
  Saw("POWERDOWN", now);
  return Handle(EventType::kPowerdownRequested, "the host pressed the power button", false, event,
                now);
}

Effects VmSession::OnReset(const QmpEvent& event, Instant now) {
  if (powerdown_at_.has_value() || IsDecided(evidence_) || evidence_.hibernating) {
    Forget("RESET", now);
  }
  powerdown_at_.reset();
  evidence_ = Evidence();
  evidence_.monitored = true;
  WeighIntent();
  ForgetExit();
  if (state_ != VmState::kRunning) SetState(paused_ ? VmState::kPaused : VmState::kRunning, now);

  const bool repeated = now.monotonic - last_reset_ < kResetWindow;
  last_reset_ = now.monotonic;
  Effects effects;
  if (!repeated) {
    effects = Handle(EventType::kReset, "the VM was reset", false, event, now);
  } else if (started_) {
    effects.push_back(Update(std::nullopt));
  }
  TakeShutdownFileBack(&effects);
  return effects;
}

Effects VmSession::OnStop(const QmpEvent& event, Instant now) {
  paused_ = true;
  migration_polls_ = 0;
  Effects effects;
  if (evidence_.shutdown.has_value()) {
    ForgetExit();
    effects = Handle(EventType::kGuestShutdown, "the guest is down and QEMU stays (-no-shutdown)",
                     false, event, now);
  } else {
    Saw("STOP", now);
    SetState(evidence_.guest_panicked ? VmState::kGuestDown : VmState::kPaused, now);
    // Before STARTED the state is all there is to tell: query-status will say it.
    if (started_) effects = Handle(EventType::kPaused, "the VM was paused", false, event, now);
  }
  effects.push_back(QueryRunState{absl::ZeroDuration()});
  return effects;
}

Effects VmSession::OnResume(const QmpEvent& event, Instant now) {
  const bool was_running = state_ == VmState::kRunning;
  ApplyRunState("running", now);
  Effects effects;
  if (started_ && !was_running) {
    effects = Handle(EventType::kResumed, "the VM runs again", false, event, now);
  }
  TakeShutdownFileBack(&effects);
  return effects;
}

Effects VmSession::OnPanic(const QmpEvent& event, Instant now) {
  const bool repeated = evidence_.guest_panicked;
  const std::string action = TextMember(event.data, "action");
  evidence_.guest_panicked = true;
  Saw(absl::StrCat(event.name, action.empty() ? "" : " action=", action), now);
  if (action == "pause" || action == "poweroff") SetState(VmState::kGuestDown, now);
  return Handle(EventType::kGuestPanicked, "the guest's kernel panicked", repeated, event, now);
}

Effects VmSession::OnWatchdog(const QmpEvent& event, Instant now) {
  const std::string action = TextMember(event.data, "action");
  // The other actions (debug, none, inject-nmi) leave the guest as it is.
  const bool ends_guest =
      action == "reset" || action == "shutdown" || action == "poweroff" || action == "pause";
  const bool limited = !ends_guest || evidence_.watchdog_expired;
  if (ends_guest) {
    evidence_.watchdog_expired = true;
    Saw(absl::StrCat("WATCHDOG action=", action), now);
  }
  return Handle(EventType::kWatchdogExpired, "the guest did not feed its watchdog", limited, event,
                now);
}

Effects VmSession::OnSuspendDisk(const QmpEvent& event, Instant now) {
  const bool repeated = evidence_.hibernating;
  evidence_.hibernating = true;
  Saw("SUSPEND_DISK", now);
  return Handle(EventType::kHibernating, "the guest hibernates", repeated, event, now);
}

Effects VmSession::OnOther(const QmpEvent& event, Instant now) {
  if (event.name == "SUSPEND") {
    SetState(VmState::kSuspended, now);
    return Kept(Handle(EventType::kSuspended, "the guest sleeps", true, event, now));
  }
  if (event.name == "WAKEUP") {
    SetState(paused_ ? VmState::kPaused : VmState::kRunning, now);
    return Kept(Handle(EventType::kWoken, "the guest woke up", true, event, now));
  }
  for (const PlainEvent& plain : kPlainEvents) {
    if (plain.name != event.name) continue;
    Effects effects = Handle(plain.type, plain.message, true, event, now);
    // `completed` is said on both sides; only the source is then in `postmigrate`.
    if (plain.type == EventType::kMigration && TextMember(event.data, "status") == "completed") {
      effects.push_back(QueryRunState{absl::ZeroDuration()});
    }
    return effects;
  }
  return {};
}

}  // namespace vmeventd
