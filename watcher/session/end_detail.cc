#include "watcher/session/end_detail.h"

#include <algorithm>
#include <csignal>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/signal_name.h"
#include "watcher/core/causes.h"
#include "watcher/core/evidence_entry.h"
#include "watcher/core/proto_time.h"
#include "watcher/session/end_words.h"
#include "watcher/session/evidence.h"
#include "watcher/session/evidence_log.h"

namespace vmeventd {
namespace {

// Time since the start of a process after which its monitor may have sent events that matter,
// before it was attached.
constexpr absl::Duration kLateAttach = absl::Seconds(10);

// Inserts `entry` by its time, after entries of the same time.
void InsertByTime(EvidenceEntry entry, std::vector<EvidenceEntry>* timeline) {
  const auto later =
      std::find_if(timeline->begin(), timeline->end(),
                   [&](const EvidenceEntry& other) { return other.time > entry.time; });
  timeline->insert(later, std::move(entry));
}

// Returns whether the VM was followed from its start and held until now.
bool NeverRan(const RunState& state, bool restored_unattached) {
  const Evidence& facts = state.evidence.facts;
  // A reset of a paused VM leads to `prelaunch` too; only a start leads to `inmigrate`.
  const bool from_start = facts.incoming == Fact::kStands ||
                          state.attached_at.wall - state.run.process_start < kLateAttach;
  return facts.never_ran == Fact::kStands && facts.monitored && !restored_unattached && from_start;
}

std::optional<absl::Duration> PowerdownAge(const Evidence& facts) {
  return facts.shutdown.has_value() ? facts.shutdown->powerdown_age : std::nullopt;
}

// Returns the caveats. Only an end of class USER can have any.
std::vector<ShutdownCaveat> CaveatsOf(const RunState& state, const EndContext& context) {
  std::vector<ShutdownCaveat> caveats;
  if (context.verdict.shutdown_class != ShutdownClass::kUser) return caveats;
  const Evidence& facts = state.evidence.facts;
  const Rare<ShutdownFact>& shutdown = facts.shutdown;
  const absl::Duration window = context.powerdown_window;
  const std::optional<ShutdownCaveat> of_agent =
      shutdown.has_value() ? shutdown->caveat : state.agent.CaveatAt(context.closed_at, window);
  if (of_agent.has_value()) caveats.push_back(*of_agent);
  if (shutdown.has_value() && shutdown->host_shutdown) {
    caveats.push_back(ShutdownCaveat::kHostShuttingDown);
  }
  // A guest that reboots, as for its updates, may obey the power button all the same.
  const bool reboots = context.verdict.cause == ShutdownCause::kGuestRebootExit;
  const bool rebooted = reboots || (shutdown.has_value() && shutdown->powerdown_cleared);
  const std::optional<absl::Duration> age = PowerdownAge(facts);
  if (age.has_value() && (*age <= window) == rebooted) {
    caveats.push_back(ShutdownCaveat::kPowerdownEarlier);
  }
  if (reboots && facts.no_panic_device) caveats.push_back(ShutdownCaveat::kNoPanicDevice);
  if (!reboots && shutdown.has_value() && shutdown->unseen_age.has_value() &&
      *shutdown->unseen_age <= window) {
    caveats.push_back(ShutdownCaveat::kPowerdownUnseen);
  }
  return caveats;
}

// Describes a press of the power button that was too early, or that was followed by a reboot.
std::string DescribeEarlierPowerdown(absl::Duration age, absl::Duration window) {
  const char* const doubt =
      age <= window ? "and the guest rebooted since: it may have obeyed all the same"
                    : "which is longer than --powerdown-window: the guest may have obeyed late";
  return absl::StrCat("the power button was pressed ",
                      absl::FormatDuration(absl::Trunc(age, absl::Seconds(1))),
                      " before the SHUTDOWN, ", doubt);
}

void AddAgentConnection(const GuestAgent& agent, std::vector<EvidenceEntry>* seen) {
  if (agent.opened.has_value()) {
    InsertByTime({agent.opened->wall,
                  "guest agent connected: the host can ask it for a shutdown, which leaves no "
                  "trace on the monitor"},
                 seen);
  }
  if (agent.closed.has_value()) {
    InsertByTime({agent.closed->wall, "guest agent disconnected"}, seen);
  }
}

// Adds the evidence for a caveat to `*seen`.
void AddCaveat(ShutdownCaveat caveat, const RunState& state, absl::Duration window,
               std::vector<EvidenceEntry>* seen) {
  const auto add_last = [&](std::string what) {
    seen->push_back({state.vm.state_time, std::move(what)});
  };
  const Evidence& facts = state.evidence.facts;
  switch (caveat) {
    case ShutdownCaveat::kNoPanicDevice:
      return add_last(
          "QEMU was started without a panic device: the guest may have panicked and rebooted for "
          "that");
    case ShutdownCaveat::kPowerdownUnseen:
      return add_last(absl::StrCat(
          "the guest was not followed until ", absl::ToInt64Seconds(*facts.shutdown->unseen_age),
          " s before the SHUTDOWN: a press of the power button may have been missed"));
    case ShutdownCaveat::kPowerdownEarlier:
      return add_last(DescribeEarlierPowerdown(*facts.shutdown->powerdown_age, window));
    case ShutdownCaveat::kGuestAgentPossible:
      return InsertByTime(
          {state.attached_at.wall,
           state.agent.present && !state.agent.reported
               ? "the VM has a guest agent's port whose device has no id: QEMU does not report "
                 "whether an agent is connected"
               : "vmeventd did not know yet whether a guest agent was connected"},
          seen);
    case ShutdownCaveat::kGuestAgentConnected:
      return AddAgentConnection(state.agent, seen);
    case ShutdownCaveat::kUnspecified:
    case ShutdownCaveat::kHostShuttingDown:  // the timeline has it
      return;
  }
}

// The timeline, with additional entries for a late attach, the intent and the caveats.
std::vector<EvidenceEntry> EvidenceOf(const RunState& state, const EndContext& context,
                                      const Rare<DeclaredIntent>& intent,
                                      const std::vector<ShutdownCaveat>& caveats) {
  std::vector<EvidenceEntry> seen = state.evidence.timeline;
  const absl::Duration late = state.attached_at.wall - state.run.process_start;
  if (WasAttached(state) && late >= kLateAttach && late < absl::InfiniteDuration()) {
    seen.insert(seen.begin(),
                {state.attached_at.wall,
                 absl::StrCat("monitor attached ",
                              absl::FormatDuration(absl::Trunc(late, absl::Seconds(1))),
                              " after QEMU started, what came before was not seen")});
  }
  if (intent.has_value()) {
    InsertByTime({intent->declared, absl::StrCat("intent declared by ", intent->intent.actor())},
                 &seen);
  }
  for (const ShutdownCaveat caveat : caveats) {
    AddCaveat(caveat, state, context.powerdown_window, &seen);
  }
  if (context.verdict.rule == kHostShutdownAgentRule) AddAgentConnection(state.agent, &seen);
  return seen;
}

void SetExit(const std::optional<ExitStatus>& status, bool stopped, v1::ShutdownDetail* detail) {
  if (!status.has_value()) {
    if (stopped) detail->set_exit_unknown(true);
  } else if (status->signal == 0) {
    detail->set_exit_code(status->code);
  } else {
    detail->mutable_exit_signal()->set_number(status->signal);
    detail->mutable_exit_signal()->set_core_dumped(status->core_dumped);
  }
}

// "bash (pid 7, uid 0) sent QEMU SIGTERM".
std::string SenderSentence(const SignalSender& sender) {
  SignalSender shown = sender;
  if (shown.cgroup == "/") shown.cgroup.clear();
  if (sender.first_process == 0) {
    return absl::StrCat(DescribeSender(shown), " sent QEMU ", SignalName(sender.signal));
  }
  if (sender.first_signal == 0) {
    return "the kernel killed QEMU, because the first process of its container ended";
  }
  shown.first_process = 0;
  return absl::StrCat(DescribeSender(shown), " sent the first process of QEMU's container ",
                      SignalName(sender.first_signal), ", with which the kernel killed QEMU");
}

std::string CrashSentence(const v1::ShutdownDetail& detail, const SignalSender* sender) {
  const int signal = detail.exit_signal().number();
  if (signal == 0) {
    return absl::StrCat("QEMU exited with code ", detail.exit_code(), ": an error of its own");
  }
  // QEMU aborts where it finds a fault of its own.
  if (signal == SIGABRT && (sender == nullptr || sender->of_qemu)) {
    return absl::StrCat("QEMU was killed by ", SignalName(signal), ": a crash of QEMU itself");
  }
  if (sender == nullptr) {
    return absl::StrCat("QEMU was killed by ", SignalName(signal),
                        ", whose sender is not recorded: it counts as a crash of QEMU");
  }
  return absl::StrCat(SenderSentence(*sender), ", which counts as a crash of QEMU");
}

}  // namespace

v1::ShutdownDetail MakeEndDetail(const RunState& state, const EndContext& context) {
  const Evidence& facts = state.evidence.facts;
  v1::ShutdownDetail detail;
  if (context.read != nullptr) detail = *context.read;
  detail.set_shutdown_class(ToProto(context.verdict.shutdown_class));
  detail.set_cause(ToProto(context.verdict.cause));
  detail.set_rule(std::string(context.verdict.rule));
  detail.set_never_ran(NeverRan(state, context.restored_unattached));
  if (const auto age = PowerdownAge(facts); age.has_value()) {
    *detail.mutable_powerdown_age() = ToProtoDuration(*age);
  }
  const Rare<DeclaredIntent>& intent = state.intents.Shown();
  if (intent.has_value()) *detail.mutable_intent() = intent->intent;
  const std::vector<ShutdownCaveat> caveats = CaveatsOf(state, context);
  for (const ShutdownCaveat caveat : caveats) detail.add_caveats(ToProto(caveat));
  for (EvidenceEntry& entry : EvidenceOf(state, context, intent, caveats)) {
    v1::Evidence* const evidence = detail.add_evidence();
    *evidence->mutable_time() = ToTimestamp(entry.time);
    evidence->set_what(std::move(entry.what));
  }
  SetExit(facts.exit_status, state.vm.published_state == VmState::kStopped, &detail);
  if (const SignalSender* sender = state.evidence.SenderOfEnd(); sender != nullptr) {
    *detail.mutable_sender() = ToProto(*sender);
  }
  if (state.evidence.panic.has_value()) *detail.mutable_panic() = *state.evidence.panic;
  detail.set_shutdown_file_written(state.file_written);
  if (state.vm.published_state == VmState::kStopped) {
    detail.set_may_still_run(!state.run.process_tracked || detail.never_ran() ||
                             TraitsOf(context.verdict.cause).may_still_run);
  }
  return detail;
}

std::string StoppedMessage(const v1::ShutdownDetail& detail, const SignalSender* sender) {
  const int signal = sender != nullptr ? sender->signal : detail.exit_signal().number();
  const auto cause = static_cast<ShutdownCause>(detail.cause());
  switch (cause) {
    case ShutdownCause::kHostSignal:
    case ShutdownCause::kHostKill:
    case ShutdownCause::kQemuKilled:
      if (sender != nullptr) return SenderSentence(*sender);
      return signal != 0 ? absl::StrCat("QEMU was ended by ", SignalName(signal),
                                        "; its sender is not recorded")
                         : "the host sent QEMU a signal to end; which one and its sender are not "
                           "recorded";
    case ShutdownCause::kQemuCrashed:
      return CrashSentence(detail, sender);
    case ShutdownCause::kUnobserved:
      // An intent shows who ended it, no matter who sent the signal.
      if (detail.has_intent() && detail.shutdown_class() == ShutdownClass::kAdmin) {
        return signal != 0 ? absl::StrCat("QEMU was ended by ", SignalName(signal), ", as intended")
                           : "it ended as intended; nobody saw how";
      }
      if (detail.rule() == kKilledUnseenRule) {
        return absl::StrCat("QEMU was ended by ", SignalName(signal),
                            sender == nullptr ? "; its sender is not recorded" : "");
      }
      break;
    case ShutdownCause::kHostPowerdown:
      if (!detail.has_powerdown_age()) break;
      return absl::StrCat("the host pressed the power button, and the guest obeyed after ",
                          detail.powerdown_age().seconds(), " s");
    default:
      break;
  }
  return std::string(TraitsOf(cause).sentence);
}

}  // namespace vmeventd
