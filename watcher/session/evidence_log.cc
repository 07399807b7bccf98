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

}  // namespace

// A fact that a VM's new life makes void.
struct EvidenceLog::Clearable {
  const char* what;  // text for the document
  EvidenceId id;     // the id of its entries in the timeline
  enum class By { kReset, kRunning, kBoth } by;
  // Null: it leaves no trace in the timeline when cleared alone.
  bool (*stands)(const EvidenceLog&);
  void (*clear)(EvidenceLog*);
};

// The one place that says what clears evidence.
const EvidenceLog::Clearable EvidenceLog::kClearables[] = {
    {"POWERDOWN", EvidenceId::kPowerdown, Clearable::By::kReset,
     [](const EvidenceLog& log) { return log.powerdown_at_.has_value(); },
     [](EvidenceLog* log) {
       log->powerdown_at_.reset();
       log->facts_.powerdown_doubted = false;
     }},
    {"SHUTDOWN", EvidenceId::kShutdown, Clearable::By::kBoth,
     [](const EvidenceLog& log) { return log.facts_.shutdown.has_value(); },
     [](EvidenceLog* log) { log->facts_.shutdown.reset(); }},
    {"STOP", EvidenceId::kStop, Clearable::By::kRunning, nullptr,
     [](EvidenceLog* log) { log->facts_.paused = false; }},
    {"run state `inmigrate` or `prelaunch`, or a monitor that closed before it said a run state",
     EvidenceId::kNotRunning, Clearable::By::kRunning, nullptr,
     [](EvidenceLog* log) { log->facts_.never_ran = log->facts_.incoming = false; }},
    {"run state `finish-migrate`", EvidenceId::kFinishingMigration, Clearable::By::kRunning,
     nullptr, [](EvidenceLog* log) { log->facts_.finishing_migration = false; }},
    {"GUEST_PANICKED or GUEST_CRASHLOADED, or run state `guest-panicked` at attach",
     EvidenceId::kPanic, Clearable::By::kReset,
     [](const EvidenceLog& log) { return log.facts_.guest_panicked; },
     [](EvidenceLog* log) {
       log->facts_.guest_panicked = log->facts_.panic_doubted = false;
       log->panic_.reset();
     }},
    {"WATCHDOG with action pause, or run state `watchdog` at attach", EvidenceId::kWatchdogPaused,
     Clearable::By::kBoth, [](const EvidenceLog& log) { return log.facts_.watchdog_paused; },
     [](EvidenceLog* log) { log->facts_.watchdog_paused = log->facts_.watchdog_expired = false; }},
    {"WATCHDOG with action reset, shutdown or poweroff", EvidenceId::kWatchdog,
     Clearable::By::kReset, [](const EvidenceLog& log) { return log.facts_.watchdog_expired; },
     [](EvidenceLog* log) { log->facts_.watchdog_expired = log->facts_.watchdog_doubted = false; }},
    {"run state `internal-error`", EvidenceId::kInternalError, Clearable::By::kBoth,
     [](const EvidenceLog& log) { return log.facts_.internal_error; },
     [](EvidenceLog* log) { log->facts_.internal_error = false; }},
    {"BLOCK_IO_ERROR with action stop", EvidenceId::kIoError, Clearable::By::kBoth, nullptr,
     [](EvidenceLog*) {}},
    {"SUSPEND_DISK", EvidenceId::kHibernation, Clearable::By::kReset,
     [](const EvidenceLog& log) { return log.facts_.hibernating; },
     [](EvidenceLog* log) { log->facts_.hibernating = false; }},
    {"run state `postmigrate`", EvidenceId::kMigration, Clearable::By::kBoth,
     [](const EvidenceLog& log) { return log.facts_.migrated; },
     [](EvidenceLog* log) { log->facts_.migrated = false; }},
    {"run state `shutdown` at attach", EvidenceId::kDownBeforeAttach, Clearable::By::kBoth,
     [](const EvidenceLog& log) { return log.facts_.down_before_attach; },
     [](EvidenceLog* log) { log->facts_.down_before_attach = false; }},
    {"a shutdown file that was found after a restart of vmeventd", EvidenceId::kShutdownFile,
     Clearable::By::kBoth, [](const EvidenceLog& log) { return log.facts_.shutdown_file_found; },
     [](EvidenceLog* log) { log->facts_.shutdown_file_found = false; }},
};

std::string ClearingsTable() {
  constexpr const char* kNames[] = {"RESET", "RESUME", "RESET, RESUME"};
  std::string table = "| seen | cleared by |\n|---|---|\n";
  for (const EvidenceLog::Clearable& row : EvidenceLog::kClearables) {
    absl::StrAppend(&table, "| ", row.what, " | ", kNames[static_cast<int>(row.by)], " |\n");
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
    const auto one = clearing == Clearing::kReset ? Clearable::By::kReset : Clearable::By::kRunning;
    return row.by == one || row.by == Clearable::By::kBoth;
  };
  const bool leaves_trace = absl::c_any_of(kClearables, [&](const Clearable& row) {
    return is_cleared(row) && row.stands != nullptr && row.stands(*this);
  });
  // A reset is a new life, of which nothing was seen yet.
  const auto goes = [&](const EvidenceEntry& entry) {
    if (entry.id == EvidenceId::kSignalSent || entry.id == EvidenceId::kHostShutdown) return false;
    if (clearing == Clearing::kReset && leaves_trace) return true;
    return absl::c_any_of(kClearables, [&](const Clearable& row) {
      return row.id == entry.id && is_cleared(row) && (leaves_trace || row.stands == nullptr);
    });
  };
  std::string cleared;
  std::erase_if(timeline_, [&](const EvidenceEntry& entry) {
    if (!goes(entry)) return false;
    absl::StrAppend(&cleared, cleared.empty() ? "" : ", ", entry.what);
    return true;
  });
  for (const Clearable& row : kClearables) {
    if (is_cleared(row) && (row.stands == nullptr || row.stands(*this))) row.clear(this);
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
  if (!timeline_.empty() && timeline_.back().what == what) {
    timeline_.back().time = now.wall;
    return;
  }
  if (timeline_.size() == kMaxEntries) timeline_.erase(timeline_.begin());
  timeline_.push_back({now.wall, std::move(what), id});
}

void EvidenceLog::SawPowerdown(Instant said, Instant now) {
  powerdown_at_ = said;
  if (!facts_.shutdown.has_value()) facts_.powerdown_doubted = false;
  Saw("POWERDOWN", now, EvidenceId::kPowerdown);
}

void EvidenceLog::SawShutdown(ShutdownFact fact, std::string what, const QmpEvent& event,
                              Instant said, Instant now) {
  fact.while_paused = facts_.paused;
  const Rare<SignalSender>& sender = facts_.signaller;
  const bool has_reason =
      fact.reason != ShutdownReason::kMissing && fact.reason != ShutdownReason::kOther;
  fact.after_signal = !has_reason && fact.guest != true && sender.has_value() && !sender->of_qemu &&
                      sender->signal != SIGQUIT && sender->signal != SIGABRT &&
                      sender->sent <= event.time.value_or(said.wall);
  if (powerdown_at_.has_value()) fact.powerdown_age = said.monotonic - powerdown_at_->monotonic;
  fact.host_shutdown = host_shutdown_at_.has_value();
  fact.powerdown_in_host_shutdown = fact.host_shutdown && powerdown_at_.has_value() &&
                                    powerdown_at_->monotonic >= host_shutdown_at_->monotonic;
  facts_.shutdown = fact;
  shutdown_qemu_time_ = event.time;
  shutdown_json_ = event.detail_json;
  Saw(std::move(what), now, EvidenceId::kShutdown);
}

void EvidenceLog::SawStop(Instant now) {
  facts_.paused = true;
  // After a SHUTDOWN it only says that QEMU stays.
  if (!facts_.shutdown.has_value()) Saw("STOP", now, EvidenceId::kStop);
  if (migrating_) SawMigrationState("finish-migrate", "STOP in a migration", now);
}

void EvidenceLog::SawPanic(absl::string_view event, GuestPanic panic, Instant now) {
  facts_.guest_panicked = true;
  facts_.panic_doubted = false;
  const std::string said = DescribePanic(panic);
  Saw(absl::StrCat(event, panic.action.empty() ? "" : " action=", panic.action,
                   said.empty() ? "" : ", the guest said ", said),
      now, EvidenceId::kPanic);
  // A crash kernel that was loaded says less than the panic before it.
  const bool says_more = !panic_.has_value() || !said.empty();
  if (says_more) panic_ = std::move(panic);
}

void EvidenceLog::SawWatchdog(absl::string_view action, Instant now) {
  // The other actions (debug, none, inject-nmi) leave the guest as it is.
  if (action != "reset" && action != "shutdown" && action != "poweroff" && action != "pause") {
    return;
  }
  facts_.watchdog_expired = true;
  facts_.watchdog_doubted = false;
  facts_.watchdog_paused = action == "pause";
  Saw(absl::StrCat("WATCHDOG action=", action), now,
      facts_.watchdog_paused ? EvidenceId::kWatchdogPaused : EvidenceId::kWatchdog);
}

void EvidenceLog::SawIoError(absl::string_view error, Instant now) {
  Saw(absl::StrCat("I/O error, for which QEMU paused the VM: ", error), now, EvidenceId::kIoError);
}

void EvidenceLog::SawInternalError(absl::string_view by, Instant now) {
  if (!std::exchange(facts_.internal_error, true)) {
    Saw(std::string(by), now, EvidenceId::kInternalError);
  }
}

void EvidenceLog::SawHibernation(Instant now) {
  facts_.hibernating = true;
  Saw("SUSPEND_DISK", now, EvidenceId::kHibernation);
}

void EvidenceLog::SawRunStateInShutdown(absl::string_view run_state, absl::string_view by,
                                        Instant now) {
  if (NeedsReset(run_state)) facts_.shutdown->while_paused = true;
  SawRunState(run_state, by, now);
}

void EvidenceLog::SawRunState(absl::string_view run_state, absl::string_view by, Instant now) {
  const Rare<ShutdownFact>& shutdown = facts_.shutdown;
  const bool was_down =
      facts_.down_before_attach || facts_.shutdown_file_found ||
      (shutdown.has_value() && shutdown->guest == true && !shutdown->while_paused);
  const bool went_on = was_down && NeedsReset(run_state);
  const bool was_paused = facts_.paused;
  if (went_on) Clear(Clearing::kRunning, by, now);
  facts_.paused = !run_state.empty();
  if (run_state == "prelaunch" && went_on) return;  // a reset leads there; it ran before that
  if (run_state == "running" || run_state == "suspended") {
    // Alive again, whatever stood before. A panicked guest is not healed by being resumed, nor is
    // one whose watchdog has pressed the power button: it runs until it obeys.
    Clear(Clearing::kRunning, by, now);
    if (was_paused) DoubtWhatStands(by, now);
  } else if (run_state == "inmigrate" || run_state == "prelaunch") {
    facts_.incoming = run_state == "inmigrate";
    if (!std::exchange(facts_.never_ran, true)) {
      Saw(std::string(by), now, EvidenceId::kNotRunning);
    }
  } else if (run_state == "guest-panicked") {
    facts_.panic_doubted = false;
    if (!std::exchange(facts_.guest_panicked, true)) {
      Saw(std::string(by), now, EvidenceId::kPanic);
    }
  } else if (run_state == "internal-error") {
    SawInternalError(by, now);
  } else if (run_state == "watchdog") {
    facts_.watchdog_paused = true;
    facts_.watchdog_doubted = false;
    if (!std::exchange(facts_.watchdog_expired, true)) {
      Saw(std::string(by), now, EvidenceId::kWatchdogPaused);
    }
  } else if (run_state == "shutdown" && !decided()) {
    facts_.down_before_attach = true;  // its SHUTDOWN came while nobody here listened
    Saw(std::string(by), now, EvidenceId::kDownBeforeAttach);
  }
  SawMigrationState(run_state, by, now);
}

void EvidenceLog::DoubtWhatStands(absl::string_view by, Instant now) {
  bool doubted = false;
  const auto doubt = [&](bool stands, bool* flag) {
    if (stands && !std::exchange(*flag, true)) doubted = true;
  };
  doubt(facts_.guest_panicked, &facts_.panic_doubted);
  doubt(facts_.watchdog_expired, &facts_.watchdog_doubted);
  doubt(powerdown_at_.has_value(), &facts_.powerdown_doubted);
  if (doubted) Saw(absl::StrCat(by, ", perhaps from a snapshot of before"), now);
}

void EvidenceLog::SawNoRunState(Instant now) {
  facts_.never_ran = true;
  Saw("monitor closed before QEMU said its run state", now, EvidenceId::kNotRunning);
}

void EvidenceLog::SawNoGreeting(absl::Duration age, Instant now) {
  facts_.never_greeted = true;
  Saw(absl::StrCat("QEMU sent no greeting in the ", absl::ToInt64Seconds(age), " s of its life"),
      now);
}

void EvidenceLog::SawMigrationState(absl::string_view run_state, absl::string_view by,
                                    Instant now) {
  const bool finishing = run_state == "finish-migrate";
  if (!run_state.empty() && std::exchange(facts_.finishing_migration, finishing) != finishing) {
    std::erase_if(timeline_, [](const EvidenceEntry& entry) {
      return entry.id == EvidenceId::kFinishingMigration;
    });
    if (finishing) Saw(std::string(by), now, EvidenceId::kFinishingMigration);
  }
  if (run_state == "postmigrate" && !std::exchange(facts_.migrated, true)) {
    Saw(std::string(by), now, EvidenceId::kMigration);
  }
}

void EvidenceLog::SawMigration(absl::string_view status, Instant now) {
  migrating_ = !facts_.never_ran && status != "failed" && status != "cancelled";
  if (!migrating_) {
    SawMigrationState("paused", "", now);
  } else if (facts_.paused &&
             (status == "completed" || status == "device" || status == "pre-switchover")) {
    SawMigrationState("finish-migrate", absl::StrCat("MIGRATION status=", status), now);
  }
  if (status == "completed") migrating_ = false;
}

void EvidenceLog::SawManagerEnd(ManagerEnd end, std::string what, Instant now) {
  facts_.manager_end = end;
  if (end == ManagerEnd::kMigrated) facts_.migrated = true;
  Saw(std::move(what), now);
}

void EvidenceLog::SawShutdownFile(absl::Time written, Instant now) {
  facts_.shutdown_file_found = true;
  Saw(absl::StrCat("shutdown file found, written by vmeventd at ",
                   absl::FormatTime(absl::RFC3339_sec, written, absl::UTCTimeZone())),
      {written, now.monotonic}, EvidenceId::kShutdownFile);
}

void EvidenceLog::SawSignal(const SignalSender& sender, Instant now) {
  if (EndsTheHost(sender)) SawHostShutdown(true, sender.command, now);
  Rare<SignalSender>& known = sender.signal == SIGKILL ? facts_.killer : facts_.signaller;
  // QEMU has obeyed the one before its SHUTDOWN.
  if (sender.signal != SIGKILL && known.has_value() && facts_.shutdown.has_value()) return;
  // Facts read of a sender before it was gone stay.
  if (known.has_value() && known->signal == sender.signal && known->pid == sender.pid &&
      !known->cgroup.empty() && sender.cgroup.empty()) {
    return;
  }
  known = sender;
  const std::string sent = absl::StrCat(SignalName(sender.signal), " sent by ");
  std::erase_if(timeline_, [&](const EvidenceEntry& entry) {
    return entry.id == EvidenceId::kSignalSent && absl::StartsWith(entry.what, sent);
  });
  Saw(absl::StrCat(sent, DescribeSender(sender)), now, EvidenceId::kSignalSent);
}

void EvidenceLog::SawHostShutdown(bool shutting_down, absl::string_view by, Instant now) {
  if (shutting_down == facts_.host_shutdown) return;
  facts_.host_shutdown = shutting_down;
  host_shutdown_at_ = shutting_down ? std::optional(now) : std::nullopt;
  Saw(absl::StrCat(
          shutting_down ? "the host began to shut down" : "the host's shutdown was cancelled",
          ", said by ", by),
      now, EvidenceId::kHostShutdown);
}

void EvidenceLog::SawOomVictim(const OomVictim& victim, Instant now) {
  facts_.oom_victim = true;
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
  if (facts_.killer.has_value() || facts_.signaller.has_value()) return;
  if (facts_.shutdown.has_value() && facts_.shutdown->reason != ShutdownReason::kHostSignal) return;
  facts_.signaller = sender;
  facts_.obeyed_as_it_said = !facts_.shutdown.has_value();
  Saw(absl::StrCat("QEMU's last words: ", SignalName(sender.signal), " sent by ",
                   DescribeSender(sender)),
      now);
}

const SignalSender* EvidenceLog::SenderOfEnd() const {
  if (facts_.shutdown.has_value()) {
    const bool by_it =
        facts_.shutdown->reason == ShutdownReason::kHostSignal || facts_.shutdown->after_signal;
    return by_it ? facts_.signaller.get() : nullptr;
  }
  if (!facts_.exit_status.has_value() && facts_.obeyed_as_it_said) return facts_.signaller.get();
  if (!facts_.exit_status.has_value() || facts_.exit_status->signal == SIGKILL) {
    return facts_.killer.get();
  }
  const bool by_it =
      facts_.signaller.has_value() && (facts_.signaller->signal == facts_.exit_status->signal ||
                                       (facts_.obeyed_as_it_said && facts_.exit_status->code == 0));
  return by_it ? facts_.signaller.get() : nullptr;
}

void EvidenceLog::SawProcessEnd(const ProcessEnd& end, Instant now) {
  Saw(end.unseen ? "process gone while vmeventd was restarted" : "process gone", now);
  facts_.exit_status = end.status;
  facts_.oom_killed = end.oom_killed;
  facts_.killer_unclear = end.sender_unclear;
  if (end.status.has_value()) {
    Saw(DescribeExit(*end.status), now);
  } else if (!decided()) {
    constexpr char kUnknown[] = "exit status not known";
    Saw(end.status_unknown.empty() ? kUnknown : absl::StrCat(kUnknown, ": ", end.status_unknown),
        now);
  }
  if (end.oom_killed) Saw("one more OOM kill in its cgroup", now);
  if (!end.sender_unknown.empty() && !facts_.killer.has_value()) {
    Saw(absl::StrCat("sender ", end.sender_unknown), now);
  }
}

void EvidenceLog::SawHostReboot(Instant now) {
  facts_.host_rebooted = true;
  Saw("the host was rebooted: the run ended with it, unseen", now);
}

}  // namespace vmeventd
