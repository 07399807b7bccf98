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
      {"SUSPEND", &VmSession::OnSuspend},
      {"WAKEUP", &VmSession::OnWakeup},
      {"SUSPEND_DISK", &VmSession::OnSuspendDisk},
      {"VSERPORT_CHANGE", &VmSession::OnPortChange},
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
  // What is not followed changes nothing.
  if (!known && effects.empty()) return effects;
  return Settled(now, std::move(effects));
}

Effects VmSession::Handle(EventType type, absl::string_view message, const QmpEvent& event,
                          Instant now) {
  Effects effects;
  EnsureStarted(now, &effects);
  if (!Admit(type, now)) return effects;
  VmEvent out = MakeEvent(type, std::string(message), now);
  out.qemu_time = event.time;
  out.qmp_event = event.name;
  out.detail_json = event.detail_json;
  if (type == EventType::kGuestShutdown) out.shutdown = MakeDetail();
  effects.push_back(Update(std::move(out)));
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
  fact.caveat = AgentCaveat(now.monotonic);
  evidence_.shutdown = fact;
  down_in_handshake_ = monitor_ != Monitor::kReady;
  shutdown_qemu_time_ = event.time;
  shutdown_json_ = event.detail_json;

  std::string what = "SHUTDOWN";
  if (!reason.empty()) {
    absl::StrAppend(&what, " reason=", reason);
  } else if (fact.guest.has_value()) {
    absl::StrAppend(&what, " guest=", *fact.guest ? "true" : "false");
  }
  Saw(std::move(what), now);
  // Its QEMU mostly ends at once, which STOPPED tells. One that stays says so by STOP, or is found
  // to by DownReport().
  if (!started_) SetState(VmState::kGuestDown, now);
  return effects;
}

Effects VmSession::OnPowerdown(const QmpEvent& event, Instant now) {
  powerdown_at_ = now;
  Saw("POWERDOWN", now);
  return Handle(EventType::kPowerdownRequested, "the host pressed the power button", event, now);
}

Effects VmSession::OnReset(const QmpEvent& event, Instant now) {
  if (powerdown_at_.has_value() || IsDecided(evidence_) || evidence_.hibernating) {
    ForgetAll("RESET", now);
  }
  powerdown_at_.reset();
  // The guest begins again without its agent; a port that is reported has said so itself.
  agent_.closed.reset();
  if (!agent_.info.reported) agent_.info.open = false;
  if (file_step_ == FileStep::kDone) file_step_ = FileStep::kUndone;
  evidence_ = Evidence();
  evidence_.monitored = true;
  WeighIntent();
  ForgetExit();
  if (state_ != VmState::kRunning) SetState(paused_ ? VmState::kPaused : VmState::kRunning, now);

  const bool repeated = now.monotonic - last_reset_ < kResetWindow;
  last_reset_ = now.monotonic;
  Effects effects;
  if (!repeated) {
    effects = Handle(EventType::kReset, "the VM was reset", event, now);
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
    SetState(VmState::kGuestDown, now);
    effects = Handle(EventType::kGuestShutdown, "the guest is down and QEMU stays (-no-shutdown)",
                     event, now);
  } else {
    Saw("STOP", now);
    SetState(evidence_.guest_panicked ? VmState::kGuestDown : VmState::kPaused, now);
    // Before STARTED the state is all there is to tell: query-status will say it.
    if (started_) effects = Handle(EventType::kPaused, "the VM was paused", event, now);
  }
  effects.push_back(QueryRunState{absl::ZeroDuration()});
  return effects;
}

Effects VmSession::OnResume(const QmpEvent& event, Instant now) {
  const bool was_running = state_ == VmState::kRunning;
  ApplyRunState("running", "RESUME", now);
  Effects effects;
  if (started_ && !was_running) {
    effects = Handle(EventType::kResumed, "the VM runs again", event, now);
  }
  TakeShutdownFileBack(&effects);
  return effects;
}

Effects VmSession::OnPanic(const QmpEvent& event, Instant now) {
  const std::string action = TextMember(event.data, "action");
  evidence_.guest_panicked = true;
  Saw(absl::StrCat(event.name, action.empty() ? "" : " action=", action), now);
  if (action == "pause" || action == "poweroff") SetState(VmState::kGuestDown, now);
  return Handle(EventType::kGuestPanicked, "the guest's kernel panicked", event, now);
}

Effects VmSession::OnWatchdog(const QmpEvent& event, Instant now) {
  const std::string action = TextMember(event.data, "action");
  // The other actions (debug, none, inject-nmi) leave the guest as it is.
  const bool ends_guest =
      action == "reset" || action == "shutdown" || action == "poweroff" || action == "pause";
  if (ends_guest) {
    evidence_.watchdog_expired = true;
    evidence_.watchdog_paused = action == "pause";
    Saw(absl::StrCat("WATCHDOG action=", action), now);
  }
  return Handle(EventType::kWatchdogExpired, "the guest did not feed its watchdog", event, now);
}

Effects VmSession::OnSuspend(const QmpEvent& event, Instant now) {
  SetState(VmState::kSuspended, now);
  return Handle(EventType::kSuspended, "the guest sleeps", event, now);
}

Effects VmSession::OnWakeup(const QmpEvent& event, Instant now) {
  SetState(paused_ ? VmState::kPaused : VmState::kRunning, now);
  return Handle(EventType::kWoken, "the guest woke up", event, now);
}

Effects VmSession::OnSuspendDisk(const QmpEvent& event, Instant now) {
  evidence_.hibernating = true;
  Saw("SUSPEND_DISK", now);
  return Handle(EventType::kHibernating, "the guest hibernates", event, now);
}

// The guest has opened or closed a virtio-serial port whose device has an id.
Effects VmSession::OnPortChange(const QmpEvent& event, Instant now) {
  const std::string port = TextMember(event.data, "id");
  const std::optional<bool> open = BoolMember(event.data, "open");
  const GuestAgentInfo& known = agent_.info;
  if (port.empty() || !open.has_value()) return {};
  if (known.reported && port == known.port) {
    SetAgentOpen(*open, now);
    return {};
  }
  const auto& others = known.other_ports;
  if (std::find(others.begin(), others.end(), port) != others.end()) return {};
  return {QueryGuestAgent{}};  // it was plugged in since
}

Effects VmSession::OnGuestAgent(const GuestAgentInfo& info, Instant now) {
  const bool was_open = agent_.info.open;
  agent_.info = info;
  agent_.info.open = was_open;
  SetAgentOpen(info.open, now);
  return Settled(now, {});
}

void VmSession::SetAgentOpen(bool open, Instant now) {
  const bool was_open = std::exchange(agent_.info.open, open);
  if (open && !was_open) {
    agent_.opened = now;
    agent_.closed.reset();
  } else if (!open && was_open) {
    agent_.closed = now;
  }
}

// A host that asks the agent leaves no trace, and the agent is gone before its guest is down: so
// one counts that was there as late as a press of the power button would.
std::optional<ShutdownCaveat> VmSession::AgentCaveat(absl::Duration now) const {
  if (agent_.info.open) return ShutdownCaveat::kGuestAgentConnected;
  if (agent_.closed.has_value() && now - agent_.closed->monotonic <= options_->powerdown_window) {
    return ShutdownCaveat::kGuestAgentConnected;
  }
  if (agent_.info.present && !agent_.info.reported) return ShutdownCaveat::kGuestAgentPossible;
  return std::nullopt;
}

Effects VmSession::OnOther(const QmpEvent& event, Instant now) {
  for (const PlainEvent& plain : kPlainEvents) {
    if (plain.name != event.name) continue;
    Effects effects = Handle(plain.type, plain.message, event, now);
    // `completed` is said on both sides; only the source is then in `postmigrate`.
    if (plain.type == EventType::kMigration && TextMember(event.data, "status") == "completed") {
      effects.push_back(QueryRunState{absl::ZeroDuration()});
    }
    return effects;
  }
  return {};
}

}  // namespace vmeventd
