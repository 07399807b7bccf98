#include "watcher/session/evidence_log.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "watcher/core/names.h"
#include "watcher/core/qmp_message.h"

namespace vmeventd {
namespace {

// Returns whether only a reset takes a QEMU from `shutdown` to it.
bool NeedsReset(absl::string_view run_state) {
  constexpr absl::string_view kStates[] = {"paused", "prelaunch", "io-error", "internal-error",
                                           "watchdog"};
  return absl::c_linear_search(kStates, run_state);
}

// The data of a panic, with texts of no more than ParseGuestPanic takes of them: else the whole
// `info` could be too long.
std::string PanicJson(QmpObject data) {
  if (data.contains("info")) {
    for (QmpObject& value : data["info"]) {
      if (!value.is_string()) continue;
      const std::string text = value.get<std::string>();
      value = std::string(Utf8Prefix(text, kMaxPanicMessageBytes));
    }
  }
  return DetailJson(data, kMaxDetailBytes);
}

}  // namespace

// A fact that a VM's new life makes void.
struct EvidenceLog::Clearable {
  enum By { kReset, kRunning, kBoth };
  const char* what;  // text for the document
  EvidenceId id;     // the id of its entries in the timeline
  By by;
  bool leaves_trace;  // the timeline shows that it was cleared
  bool Evidence::*fact = nullptr;
  bool Evidence::*other = nullptr;  // a fact that is cleared with it
};

// The one table of what clears evidence.
const EvidenceLog::Clearable EvidenceLog::kClearables[] = {
    {"POWERDOWN", EvidenceId::kPowerdown, Clearable::kReset, true, &Evidence::powerdown_doubted},
    {"SHUTDOWN", EvidenceId::kShutdown, Clearable::kBoth, true},
    {"STOP", EvidenceId::kStop, Clearable::kRunning, false, &Evidence::paused},
    {"run state `inmigrate` or `prelaunch`, or a monitor that closed before it reported a run "
     "state",
     EvidenceId::kNotRunning, Clearable::kRunning, false, &Evidence::never_ran,
     &Evidence::incoming},
    {"run state `finish-migrate`", EvidenceId::kFinishingMigration, Clearable::kRunning, false,
     &Evidence::finishing_migration},
    {"GUEST_PANICKED or GUEST_CRASHLOADED, or run state `guest-panicked` at attach",
     EvidenceId::kPanic, Clearable::kReset, true, &Evidence::guest_panicked,
     &Evidence::panic_doubted},
    {"WATCHDOG with action pause, or run state `watchdog` at attach", EvidenceId::kWatchdogPaused,
     Clearable::kBoth, true, &Evidence::watchdog_paused, &Evidence::watchdog_expired},
    {"WATCHDOG with action reset, shutdown or poweroff", EvidenceId::kWatchdog, Clearable::kReset,
     true, &Evidence::watchdog_expired, &Evidence::watchdog_doubted},
    {"run state `internal-error`", EvidenceId::kInternalError, Clearable::kBoth, true,
     &Evidence::internal_error},
    {"BLOCK_IO_ERROR with action stop", EvidenceId::kIoError, Clearable::kBoth, false},
    {"SUSPEND_DISK", EvidenceId::kHibernation, Clearable::kReset, true, &Evidence::hibernating},
    {"run state `postmigrate`", EvidenceId::kMigration, Clearable::kBoth, true,
     &Evidence::migrated},
    {"run state `shutdown` at attach", EvidenceId::kDownBeforeAttach, Clearable::kBoth, true,
     &Evidence::down_before_attach},
};

bool EvidenceLog::Stands(const Clearable& row) const {
  if (row.id == EvidenceId::kPowerdown) return state_.powerdown_at.has_value();
  if (row.id == EvidenceId::kShutdown) return state_.facts.shutdown.has_value();
  return row.fact != nullptr && state_.facts.*row.fact;
}

std::string ClearingsTable() {
  constexpr const char* kNames[] = {"RESET", "RESUME", "RESET, RESUME"};
  std::string table = "| seen | cleared by |\n|---|---|\n";
  for (const EvidenceLog::Clearable& row : EvidenceLog::kClearables) {
    absl::StrAppend(&table, "| ", row.what, " | ", kNames[row.by], " |\n");
  }
  return table;
}

void InsertByTime(EvidenceEntry entry, std::vector<EvidenceEntry>* timeline) {
  const auto later =
      std::find_if(timeline->begin(), timeline->end(),
                   [&](const EvidenceEntry& other) { return other.time > entry.time; });
  timeline->insert(later, std::move(entry));
}

void EvidenceLog::Clear(Clearing clearing, absl::string_view by, Instant now) {
  const auto is_cleared = [clearing](const Clearable& row) {
    return row.by == Clearable::kBoth ||
           row.by == (clearing == Clearing::kReset ? Clearable::kReset : Clearable::kRunning);
  };
  const bool leaves_trace = absl::c_any_of(kClearables, [&](const Clearable& row) {
    return is_cleared(row) && row.leaves_trace && Stands(row);
  });
  // A reset is a new life, of which nothing was seen yet.
  const auto goes = [&](const EvidenceEntry& entry) {
    if (entry.id == EvidenceId::kSignalSent || entry.id == EvidenceId::kHostShutdown) return false;
    if (clearing == Clearing::kReset && leaves_trace) return true;
    return absl::c_any_of(kClearables, [&](const Clearable& row) {
      return row.id == entry.id && is_cleared(row) && (leaves_trace || !row.leaves_trace);
    });
  };
  std::string cleared;
  std::erase_if(state_.timeline, [&](const EvidenceEntry& entry) {
    if (!goes(entry)) return false;
    absl::StrAppend(&cleared, cleared.empty() ? "" : ", ", entry.what);
    return true;
  });
  for (const Clearable& row : kClearables) {
    if (!is_cleared(row) || (row.leaves_trace && !Stands(row))) continue;
    for (bool Evidence::*const fact : {row.fact, row.other}) {
      if (fact != nullptr) state_.facts.*fact = false;
    }
    if (row.id == EvidenceId::kPowerdown) state_.powerdown_at.reset();
    if (row.id == EvidenceId::kShutdown) state_.facts.shutdown.reset();
    if (row.id == EvidenceId::kPanic) state_.panic_json.clear();
  }
  if (!leaves_trace) return;
  constexpr size_t kMaxClearedText = 200;
  if (cleared.size() > kMaxClearedText) cleared = "earlier evidence";
  Saw(absl::StrCat(by, " (clears: ", cleared, ")"), now);
}

void EvidenceLog::Saw(std::string what, Instant now, EvidenceId id) {
  if (what.size() > kMaxEntryBytes) {
    // Some of it is QEMU's own text, which a hostile one may make long.
    what.resize(Utf8Prefix(what, kMaxEntryBytes).size());
    what += "...";
  }
  if (!state_.timeline.empty() && state_.timeline.back().what == what) {
    state_.timeline.back().time = now.wall;
    return;
  }
  if (state_.timeline.size() == kMaxEntries) state_.timeline.erase(state_.timeline.begin());
  state_.timeline.push_back({now.wall, std::move(what), id});
}

void EvidenceLog::SawPowerdown(Instant said, Instant now) {
  state_.powerdown_at = said;
  if (!state_.facts.shutdown.has_value()) state_.facts.powerdown_doubted = false;
  Saw("POWERDOWN", now, EvidenceId::kPowerdown);
}

void EvidenceLog::SawShutdown(ShutdownFact fact, std::string what, const QmpEvent& event,
                              Instant said, Instant now) {
  fact.while_paused = state_.facts.paused;
  const Rare<SignalSender>& sender = state_.facts.signaller;
  const Rare<Instant>& powerdown = state_.powerdown_at;
  const Rare<Instant>& host_shutdown = state_.host_shutdown_at;
  const bool has_reason =
      fact.reason != ShutdownReason::kMissing && fact.reason != ShutdownReason::kOther;
  fact.after_signal = !has_reason && fact.guest != true && sender.has_value() && !sender->of_qemu &&
                      sender->signal != SIGQUIT && sender->signal != SIGABRT &&
                      sender->sent <= event.time.value_or(said.wall);
  if (powerdown.has_value()) fact.powerdown_age = said.monotonic - powerdown->monotonic;
  fact.host_shutdown = host_shutdown.has_value();
  fact.powerdown_in_host_shutdown = fact.host_shutdown && powerdown.has_value() &&
                                    powerdown->monotonic >= host_shutdown->monotonic;
  state_.facts.shutdown = fact;
  state_.shutdown_qemu_time = event.time;
  state_.shutdown_json = event.detail_json;
  Saw(std::move(what), now, EvidenceId::kShutdown);
}

void EvidenceLog::SawStop(Instant now) {
  state_.facts.paused = true;
  // After a SHUTDOWN it only shows that QEMU stays.
  if (!state_.facts.shutdown.has_value()) Saw("STOP", now, EvidenceId::kStop);
  if (state_.migrating) SawMigrationState("finish-migrate", "STOP in a migration", now);
}

void EvidenceLog::SawPanic(const QmpEvent& event, Instant now) {
  state_.facts.guest_panicked = true;
  state_.facts.panic_doubted = false;
  const GuestPanic panic = ParseGuestPanic(event.data);
  const std::string said = DescribePanic(panic);
  Saw(absl::StrCat(event.name, panic.action.empty() ? "" : " action=", panic.action,
                   said.empty() ? "" : ", the guest said ", said),
      now, EvidenceId::kPanic);
  // A crash kernel that was loaded has less than the panic before it.
  if (!state_.panic_json.empty() && said.empty()) return;
  state_.panic_json = PanicJson(event.data);
}

std::optional<GuestPanic> EvidenceLog::panic() const {
  if (state_.panic_json.empty()) return std::nullopt;
  return ParseGuestPanic(QmpObject::parse(state_.panic_json, nullptr, /*allow_exceptions=*/false));
}

void EvidenceLog::SawWatchdog(absl::string_view action, Instant now) {
  // The other actions (debug, none, inject-nmi) leave the guest as it is.
  if (action != "reset" && action != "shutdown" && action != "poweroff" && action != "pause") {
    return;
  }
  state_.facts.watchdog_expired = true;
  state_.facts.watchdog_doubted = false;
  state_.facts.watchdog_paused = action == "pause";
  Saw(absl::StrCat("WATCHDOG action=", action), now,
      state_.facts.watchdog_paused ? EvidenceId::kWatchdogPaused : EvidenceId::kWatchdog);
}

void EvidenceLog::SawIoError(absl::string_view error, Instant now) {
  Saw(absl::StrCat("I/O error, for which QEMU paused the VM: ", error), now, EvidenceId::kIoError);
}

void EvidenceLog::SawInternalError(absl::string_view by, Instant now) {
  if (!std::exchange(state_.facts.internal_error, true)) {
    Saw(std::string(by), now, EvidenceId::kInternalError);
  }
}

void EvidenceLog::SawHibernation(Instant now) {
  state_.facts.hibernating = true;
  Saw("SUSPEND_DISK", now, EvidenceId::kHibernation);
}

void EvidenceLog::SawRunStateInShutdown(absl::string_view run_state, absl::string_view by,
                                        Instant now) {
  if (NeedsReset(run_state)) state_.facts.shutdown->while_paused = true;
  SawRunState(run_state, by, now);
}

void EvidenceLog::SawRunState(absl::string_view run_state, absl::string_view by, Instant now) {
  const Rare<ShutdownFact>& shutdown = state_.facts.shutdown;
  const bool was_down =
      state_.facts.down_before_attach ||
      (shutdown.has_value() && shutdown->guest == true && !shutdown->while_paused);
  const bool went_on = was_down && NeedsReset(run_state);
  const bool was_paused = state_.facts.paused;
  if (went_on) Clear(Clearing::kRunning, by, now);
  state_.facts.paused = !run_state.empty();
  if (run_state == "prelaunch" && went_on) return;  // a reset leads there; it ran before that
  if (run_state == "running" || run_state == "suspended") {
    // Alive again, whatever stood before. A panicked guest is not healed by being resumed, nor is
    // one whose watchdog has pressed the power button: it runs until it obeys.
    Clear(Clearing::kRunning, by, now);
    if (was_paused) DoubtWhatStands(by, now);
  } else if (run_state == "inmigrate" || run_state == "prelaunch") {
    state_.facts.incoming = run_state == "inmigrate";
    if (!std::exchange(state_.facts.never_ran, true)) {
      Saw(std::string(by), now, EvidenceId::kNotRunning);
    }
  } else if (run_state == "guest-panicked") {
    state_.facts.panic_doubted = false;
    if (!std::exchange(state_.facts.guest_panicked, true)) {
      Saw(std::string(by), now, EvidenceId::kPanic);
    }
  } else if (run_state == "internal-error") {
    SawInternalError(by, now);
  } else if (run_state == "watchdog") {
    state_.facts.watchdog_paused = true;
    state_.facts.watchdog_doubted = false;
    if (!std::exchange(state_.facts.watchdog_expired, true)) {
      Saw(std::string(by), now, EvidenceId::kWatchdogPaused);
    }
  } else if (run_state == "shutdown" && !decided()) {
    state_.facts.down_before_attach = true;  // its SHUTDOWN came while nobody here listened
    Saw(std::string(by), now, EvidenceId::kDownBeforeAttach);
  }
  SawMigrationState(run_state, by, now);
}

void EvidenceLog::DoubtWhatStands(absl::string_view by, Instant now) {
  bool doubted = false;
  const auto doubt = [&](bool stands, bool* flag) {
    if (stands && !std::exchange(*flag, true)) doubted = true;
  };
  doubt(state_.facts.guest_panicked, &state_.facts.panic_doubted);
  doubt(state_.facts.watchdog_expired, &state_.facts.watchdog_doubted);
  doubt(state_.powerdown_at.has_value(), &state_.facts.powerdown_doubted);
  if (doubted) Saw(absl::StrCat(by, ", perhaps from a snapshot of before"), now);
}

void EvidenceLog::SawNoRunState(Instant now) {
  state_.facts.never_ran = true;
  Saw("monitor closed before QEMU reported its run state", now, EvidenceId::kNotRunning);
}

void EvidenceLog::SawNoGreeting(absl::Duration age, Instant now) {
  state_.facts.never_greeted = true;
  Saw(absl::StrCat("QEMU sent no greeting in the ", absl::ToInt64Seconds(age), " s of its life"),
      now);
}

void EvidenceLog::SawMigrationState(absl::string_view run_state, absl::string_view by,
                                    Instant now) {
  const bool finishing = run_state == "finish-migrate";
  if (!run_state.empty() &&
      std::exchange(state_.facts.finishing_migration, finishing) != finishing) {
    std::erase_if(state_.timeline, [](const EvidenceEntry& entry) {
      return entry.id == EvidenceId::kFinishingMigration;
    });
    if (finishing) Saw(std::string(by), now, EvidenceId::kFinishingMigration);
  }
  if (run_state == "postmigrate" && !std::exchange(state_.facts.migrated, true)) {
    Saw(std::string(by), now, EvidenceId::kMigration);
  }
}

void EvidenceLog::SawMigration(absl::string_view status, Instant now) {
  state_.migrating = !state_.facts.never_ran && status != "failed" && status != "cancelled";
  if (!state_.migrating) {
    SawMigrationState("paused", "", now);
  } else if (state_.facts.paused &&
             (status == "completed" || status == "device" || status == "pre-switchover")) {
    SawMigrationState("finish-migrate", absl::StrCat("MIGRATION status=", status), now);
  }
  if (status == "completed") state_.migrating = false;
}

void EvidenceLog::SawManagerEnd(ManagerEnd end, std::string what, Instant now) {
  state_.facts.manager_end = end;
  if (end == ManagerEnd::kMigrated) state_.facts.migrated = true;
  Saw(std::move(what), now);
}

void EvidenceLog::SawSignal(const SignalSender& sender, Instant now) {
  if (EndsTheHost(sender)) SawHostShutdown(true, sender.command, now);
  Rare<SignalSender>& known =
      sender.signal == SIGKILL ? state_.facts.killer : state_.facts.signaller;
  // QEMU has obeyed the one before its SHUTDOWN.
  if (sender.signal != SIGKILL && known.has_value() && state_.facts.shutdown.has_value()) return;
  // Facts read of a sender before it was gone stay.
  if (known.has_value() && known->signal == sender.signal && known->pid == sender.pid &&
      !known->cgroup.empty() && sender.cgroup.empty()) {
    return;
  }
  known = sender;
  const std::string sent = absl::StrCat(SignalName(sender.signal), " sent by ");
  std::erase_if(state_.timeline, [&](const EvidenceEntry& entry) {
    return entry.id == EvidenceId::kSignalSent && absl::StartsWith(entry.what, sent);
  });
  Saw(absl::StrCat(sent, DescribeSender(sender)), now, EvidenceId::kSignalSent);
}

void EvidenceLog::SawHostShutdown(bool shutting_down, absl::string_view by, Instant now) {
  if (shutting_down == state_.facts.host_shutdown) return;
  state_.facts.host_shutdown = shutting_down;
  state_.host_shutdown_at = shutting_down ? std::optional(now) : std::nullopt;
  Saw(absl::StrCat(
          shutting_down ? "the host began to shut down" : "the host's shutdown was cancelled",
          ", reported by ", by),
      now, EvidenceId::kHostShutdown);
}

void EvidenceLog::SawOomVictim(const OomVictim& victim, Instant now) {
  state_.facts.oom_victim = true;
  std::string what = "the kernel named it as its OOM victim";
  const char* separator = ": ";
  const auto add = [&](absl::string_view name, const std::optional<int64_t>& number,
                       absl::string_view unit) {
    if (!number.has_value()) return;
    absl::StrAppend(&what, std::exchange(separator, ", "), name, " ", *number, unit);
  };
  add("total-vm", victim.total_vm, " KiB");
  add("anon-rss", victim.anon_rss, " KiB");
  add("oom_score_adj", victim.oom_score_adj, "");
  Saw(std::move(what), now, EvidenceId::kSignalSent);
}

void EvidenceLog::SawSenderInWords(const SignalSender& sender, Instant now) {
  Evidence& facts = state_.facts;
  if (facts.killer.has_value() || facts.signaller.has_value()) return;
  if (facts.shutdown.has_value() && facts.shutdown->reason != ShutdownReason::kHostSignal) return;
  facts.signaller = sender;
  facts.obeyed_as_it_said = !facts.shutdown.has_value();
  Saw(absl::StrCat("QEMU's last words: ", SignalName(sender.signal), " sent by ",
                   DescribeSender(sender)),
      now);
}

const SignalSender* EvidenceLog::SenderOfEnd() const {
  const Evidence& facts = state_.facts;
  if (facts.shutdown.has_value()) {
    const bool by_it =
        facts.shutdown->reason == ShutdownReason::kHostSignal || facts.shutdown->after_signal;
    return by_it ? facts.signaller.get() : nullptr;
  }
  if (!facts.exit_status.has_value() && facts.obeyed_as_it_said) return facts.signaller.get();
  if (!facts.exit_status.has_value() || facts.exit_status->signal == SIGKILL) {
    return facts.killer.get();
  }
  const bool by_it =
      facts.signaller.has_value() && (facts.signaller->signal == facts.exit_status->signal ||
                                      (facts.obeyed_as_it_said && facts.exit_status->code == 0));
  return by_it ? facts.signaller.get() : nullptr;
}

void EvidenceLog::SawProcessEnd(const ProcessEnd& end, Instant now) {
  Saw(end.unseen ? "process gone while vmeventd was restarted" : "process gone", now);
  state_.facts.exit_status = end.status;
  state_.facts.oom_killed = end.oom_killed;
  state_.facts.killer_unclear = end.sender_unclear;
  if (end.status.has_value()) {
    Saw(DescribeExit(*end.status), now);
  } else if (!decided()) {
    constexpr char kUnknown[] = "exit status not known";
    Saw(end.status_unknown.empty() ? kUnknown : absl::StrCat(kUnknown, ": ", end.status_unknown),
        now);
  }
  if (end.oom_killed) Saw("one more OOM kill in its cgroup", now);
  if (!end.sender_unknown.empty() && !state_.facts.killer.has_value()) {
    Saw(absl::StrCat("sender ", end.sender_unknown), now);
  }
}

void EvidenceLog::SawHostReboot(Instant now) {
  state_.facts.host_rebooted = true;
  Saw("the host was rebooted: the run ended with it, unseen", now);
}

}  // namespace vmeventd
