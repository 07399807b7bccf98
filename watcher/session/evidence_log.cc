#include "watcher/session/evidence_log.h"

#include <csignal>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/signal_name.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/guest_panic.h"
#include "watcher/core/qmp_message.h"
#include "watcher/session/end_words.h"

namespace vmeventd {
namespace {

using enum EvidenceLog::Clearing;

// Returns whether a QEMU can go from the run state `shutdown` to this one only by a reset.
bool NeedsReset(absl::string_view run_state) {
  constexpr absl::string_view kStates[] = {"paused", "prelaunch", "io-error", "internal-error",
                                           "watchdog"};
  return absl::c_linear_search(kStates, run_state);
}

constexpr Clearable kClearables[] = {
    {"POWERDOWN", EvidenceId::kPowerdown, kReset, true, &Evidence::powerdown},
    {"SHUTDOWN", EvidenceId::kShutdown, kBoth, true},
    {"STOP", EvidenceId::kStop, kRunning, false, &Evidence::paused, &Evidence::stop_unexplained},
    {"run state `inmigrate` or `prelaunch`, or a monitor that closed before it reported a run "
     "state",
     EvidenceId::kNotRunning, kRunning, false, &Evidence::never_ran, &Evidence::incoming},
    {"run state `finish-migrate`", EvidenceId::kFinishingMigration, kRunning, false,
     &Evidence::finishing_migration},
    {"GUEST_PANICKED or GUEST_CRASHLOADED, or run state `guest-panicked` at attach",
     EvidenceId::kPanic, kReset, true, &Evidence::panic},
    {"WATCHDOG with action pause, or run state `watchdog` at attach", EvidenceId::kWatchdogPaused,
     kBoth, true, &Evidence::watchdog_paused},
    {"WATCHDOG with action reset, shutdown or poweroff", EvidenceId::kWatchdog, kReset, true,
     &Evidence::watchdog, &Evidence::watchdog_ended},
    {"run state `internal-error`", EvidenceId::kInternalError, kBoth, true,
     &Evidence::internal_error},
    {"BLOCK_IO_ERROR with action stop", EvidenceId::kIoError, kBoth, false},
    {"SUSPEND_DISK", EvidenceId::kHibernation, kReset, true, &Evidence::hibernating},
    {"run state `postmigrate`, or MIGRATION `completed`", EvidenceId::kMigration, kBoth, true,
     &Evidence::migrated},
    {"run state `shutdown` at attach", EvidenceId::kDownBeforeAttach, kBoth, true,
     &Evidence::down_before_attach},
};

bool Stands(const EvidenceLog& log, const Clearable& row) {
  if (row.id == EvidenceId::kPowerdown) return log.has_powerdown();
  if (row.id == EvidenceId::kShutdown) return log.facts.shutdown.has_value();
  const auto stands = [&](Fact Evidence::*fact) {
    return fact != nullptr && log.facts.*fact != Fact::kNone;
  };
  return stands(row.fact) || stands(row.other);
}

// Changes a fact that counts to doubted. Returns whether it counted.
bool Doubt(Fact* fact) {
  if (*fact != Fact::kStands) return false;
  *fact = Fact::kDoubted;
  return true;
}

}  // namespace

absl::Span<const Clearable> Clearables() { return kClearables; }

void EvidenceLog::Clear(Clearing clearing, absl::string_view by, Instant now) {
  const auto is_cleared = [clearing](const Clearable& row) { return (row.by & clearing) != 0; };
  const bool leaves_trace = absl::c_any_of(kClearables, [&](const Clearable& row) {
    return is_cleared(row) && row.leaves_trace && Stands(*this, row);
  });
  // A reset begins a new life of the guest, of which nothing was seen yet.
  const auto goes = [&](const EvidenceEntry& entry) {
    if (entry.id == EvidenceId::kSignalSent || entry.id == EvidenceId::kHostShutdown) return false;
    if (clearing == kReset && leaves_trace) return true;
    return absl::c_any_of(kClearables, [&](const Clearable& row) {
      return row.id == entry.id && is_cleared(row) && (leaves_trace || !row.leaves_trace);
    });
  };
  std::string cleared;
  std::erase_if(timeline, [&](const EvidenceEntry& entry) {
    if (!goes(entry)) return false;
    absl::StrAppend(&cleared, cleared.empty() ? "" : ", ", entry.what);
    return true;
  });
  for (const Clearable& row : kClearables) {
    if (!is_cleared(row) || (row.leaves_trace && !Stands(*this, row))) continue;
    for (Fact Evidence::*const fact : {row.fact, row.other}) {
      if (fact != nullptr) facts.*fact = Fact::kNone;
    }
    if (row.id == EvidenceId::kShutdown) facts.shutdown.reset();
    if (row.id == EvidenceId::kPanic) panic.reset();
    if (row.id == EvidenceId::kWatchdog) watchdog_at.reset();
  }
  if (!leaves_trace) return;
  constexpr size_t kMaxClearedText = 200;
  if (cleared.size() > kMaxClearedText) cleared = "earlier evidence";
  Saw(absl::StrCat(by, " (clears: ", cleared, ")"), now);
}

void EvidenceLog::Saw(std::string what, Instant now, EvidenceId id) {
  if (what.size() > kMaxEntryBytes) {
    // Part of the text is QEMU's own, which a hostile QEMU may make long.
    what.resize(Utf8Prefix(what, kMaxEntryBytes).size());
    what += "...";
  }
  if (!timeline.empty() && timeline.back().what == what) {
    timeline.back().time = now.wall;
    return;
  }
  if (timeline.size() == kMaxEntries) timeline.erase(timeline.begin());
  timeline.push_back({now.wall, std::move(what), id});
}

void EvidenceLog::Saw(Fact Evidence::*fact, absl::string_view what, Instant now, EvidenceId id) {
  if (std::exchange(facts.*fact, Fact::kStands) == Fact::kNone) Saw(std::string(what), now, id);
}

void EvidenceLog::SawPowerdown(Instant sent_at, Instant now) {
  powerdown_at = sent_at;
  // A POWERDOWN after the SHUTDOWN changes nothing about the one before it.
  if (!facts.shutdown.has_value() || facts.powerdown == Fact::kNone) {
    facts.powerdown = Fact::kStands;
  }
  Saw("POWERDOWN", now, EvidenceId::kPowerdown);
}

void EvidenceLog::SawShutdown(ShutdownFact fact, std::string what, const QmpEvent& event,
                              Instant sent_at, Instant now) {
  fact.while_paused = facts.paused != Fact::kNone;
  const absl::Time sent = event.time.value_or(sent_at.wall);
  // libvirtd sends a SIGTERM of its own before it passes a SHUTDOWN on, and others may lose
  // patience.
  if (earlier_signaller.has_value() && facts.signaller->sent > sent) {
    facts.signaller = std::move(earlier_signaller);
    AddSignal(*facts.signaller, now);
  }
  const Rare<SignalSender>& sender = facts.signaller;
  const bool has_reason =
      fact.reason != ShutdownReason::kMissing && fact.reason != ShutdownReason::kOther;
  fact.after_signal = !has_reason && fact.guest == false && sender.has_value() &&
                      !sender->of_qemu && sender->signal != SIGQUIT && sender->signal != SIGABRT &&
                      sender->sent <= sent;
  if (powerdown_at.has_value()) fact.powerdown_age = sent_at.monotonic - powerdown_at->monotonic;
  fact.powerdown_cleared = powerdown_at.has_value() && !has_powerdown();
  fact.host_shutdown = host_shutdown_at.has_value();
  fact.powerdown_in_host_shutdown = fact.host_shutdown && has_powerdown() &&
                                    powerdown_at->monotonic >= host_shutdown_at->monotonic;
  facts.shutdown = fact;
  shutdown_qemu_time = event.time;
  shutdown_json = event.detail_json;
  Saw(std::move(what), now, EvidenceId::kShutdown);
}

void EvidenceLog::SawStop(Instant now) {
  facts.paused = Fact::kStands;
  // A STOP after the SHUTDOWN only shows that QEMU stays alive.
  if (!facts.shutdown.has_value()) Saw("STOP", now, EvidenceId::kStop);
  if (migrating == Fact::kNone) return;
  SawMigrationState("finish-migrate", "STOP in a migration", now);
  if (migrating == Fact::kDoubted) Doubt(&facts.finishing_migration);
}

void EvidenceLog::SawPanic(const QmpEvent& event, Instant now) {
  facts.panic = Fact::kStands;
  v1::GuestPanic reported = ParseGuestPanic(event.data);
  const std::string description = DescribePanic(reported);
  Saw(absl::StrCat(event.name, reported.action().empty() ? "" : " action=", reported.action(),
                   description.empty() ? "" : ", reported by the guest: ", description),
      now, EvidenceId::kPanic);
  const bool ends_qemu = reported.action() == "poweroff";
  // The panic of a loaded crash kernel has fewer details than the panic before it.
  if (!panic.has_value() || !description.empty()) panic = std::move(reported);
  if (ends_qemu) panic->set_action("poweroff");
}

void EvidenceLog::SawWatchdog(absl::string_view action, Instant sent_at, Instant now) {
  // The other actions (debug, none, inject-nmi) leave the guest as it is.
  if (action != "reset" && action != "shutdown" && action != "poweroff" && action != "pause") {
    return;
  }
  const bool paused = action == "pause";
  Fact Evidence::*const expired = paused                 ? &Evidence::watchdog_paused
                                  : action == "poweroff" ? &Evidence::watchdog_ended
                                                         : &Evidence::watchdog;
  // The last watchdog event counts.
  for (Fact Evidence::*const fact :
       {&Evidence::watchdog, &Evidence::watchdog_paused, &Evidence::watchdog_ended}) {
    facts.*fact = fact == expired ? Fact::kStands : Fact::kNone;
  }
  watchdog_at = action == "shutdown" ? std::optional(sent_at) : std::nullopt;
  Saw(absl::StrCat("WATCHDOG action=", action), now,
      paused ? EvidenceId::kWatchdogPaused : EvidenceId::kWatchdog);
}

void EvidenceLog::SawHibernation(Instant now) {
  facts.hibernating = Fact::kStands;
  Saw("SUSPEND_DISK", now, EvidenceId::kHibernation);
}

void EvidenceLog::SawWatchdogIgnored(Instant now) {
  facts.watchdog = Fact::kNone;
  watchdog_at.reset();
  Saw("the guest ignored its watchdog's press of the power button", now);
}

absl::Duration EvidenceLog::WatchdogEnd(absl::Duration window) const {
  if (!watchdog_at.has_value() || facts.shutdown.has_value()) return absl::InfiniteDuration();
  // The POWERDOWN that the watchdog causes follows at once, and counts no longer than this.
  return watchdog_at->monotonic + window + absl::Seconds(1);
}

void EvidenceLog::OnUnfollowedTime(bool stays, Instant now) {
  if (facts.shutdown.has_value() && (!stays || EndsQemu(*facts.shutdown))) return;
  // QEMU ends after a panic with the action `poweroff`.
  const bool panic_ends = !stays && panic.has_value() && panic->action() == "poweroff";
  bool doubted = !panic_ends && Doubt(&facts.panic);
  // Once the SHUTDOWN has come, SUSPEND_DISK is exactly as doubtful as that.
  doubted |= !facts.shutdown.has_value() && Doubt(&facts.hibernating);
  for (Fact* const fact : {&facts.watchdog, &facts.watchdog_paused, &facts.powerdown,
                           &facts.internal_error, &facts.migrated, &facts.finishing_migration,
                           &facts.never_ran, &facts.incoming, &facts.down_before_attach}) {
    doubted |= Doubt(fact);
  }
  if (doubted) Saw("the VM was not followed for a time: it may have been reset or resumed", now);
  // These facts have no entry of their own, or one that shows the doubt itself.
  Doubt(&facts.paused);
  Doubt(&facts.stop_unexplained);
  Doubt(&migrating);
}

void EvidenceLog::SawRunStateInShutdown(absl::string_view run_state, absl::string_view by,
                                        Instant now) {
  if (NeedsReset(run_state)) facts.shutdown->while_paused = true;
  SawRunState(run_state, by, now);
}

void EvidenceLog::SawRunState(absl::string_view run_state, absl::string_view by, Instant now) {
  const Rare<ShutdownFact>& shutdown = facts.shutdown;
  const bool was_down =
      facts.down_before_attach != Fact::kNone ||
      (shutdown.has_value() && shutdown->guest == true && !shutdown->while_paused);
  const bool went_on = was_down && NeedsReset(run_state);
  const bool was_paused = facts.paused != Fact::kNone;
  if (went_on) {
    Clear(kRunning, by, now);
    Doubt(&facts.hibernating);  // its SHUTDOWN was undone
  }
  facts.paused = run_state.empty() ? Fact::kNone : Fact::kStands;
  if (run_state == "prelaunch" && went_on) return;  // a reset leads there; it ran before that
  if (run_state == "running" || run_state == "suspended") {
    // Alive again, whatever stood before. A panicked guest is not healed by being resumed, nor is
    // one whose watchdog has pressed the power button: it runs until it obeys.
    Clear(kRunning, by, now);
    bool doubted = false;
    if (was_paused) {
      for (Fact* const fact : {&facts.panic, &facts.watchdog, &facts.watchdog_ended,
                               &facts.powerdown, &facts.hibernating}) {
        doubted |= Doubt(fact);
      }
    }
    if (doubted) Saw(absl::StrCat(by, ", perhaps from an earlier snapshot"), now);
  } else if (run_state == "inmigrate" || run_state == "prelaunch") {
    facts.incoming = run_state == "inmigrate" ? Fact::kStands : Fact::kNone;
    Saw(&Evidence::never_ran, by, now, EvidenceId::kNotRunning);
  } else if (run_state == "guest-panicked") {
    Saw(&Evidence::panic, by, now, EvidenceId::kPanic);
  } else if (run_state == "internal-error") {
    Saw(&Evidence::internal_error, by, now, EvidenceId::kInternalError);
  } else if (run_state == "watchdog") {
    Saw(&Evidence::watchdog_paused, by, now, EvidenceId::kWatchdogPaused);
  } else if (run_state == "shutdown" && !decided()) {
    // The SHUTDOWN came while vmeventd was not listening.
    Saw(&Evidence::down_before_attach, by, now, EvidenceId::kDownBeforeAttach);
  }
  SawMigrationState(run_state, by, now);
}

void EvidenceLog::SawMigrationState(absl::string_view run_state, absl::string_view by,
                                    Instant now) {
  const bool finishing = run_state == "finish-migrate";
  // A `running` may be older than the STOP: a RESUME clears it.
  if (!run_state.empty() && run_state != "running") facts.stop_unexplained = Fact::kNone;
  const Fact now_finishing = finishing ? Fact::kStands : Fact::kNone;
  if (!run_state.empty() &&
      std::exchange(facts.finishing_migration, now_finishing) != now_finishing) {
    std::erase_if(timeline, [](const EvidenceEntry& entry) {
      return entry.id == EvidenceId::kFinishingMigration;
    });
    if (finishing) Saw(std::string(by), now, EvidenceId::kFinishingMigration);
  }
  if (run_state == "postmigrate") Saw(&Evidence::migrated, by, now, EvidenceId::kMigration);
}

void EvidenceLog::SawMonitorMigration(absl::string_view status, Instant now) {
  // A destination reports `active` as well, but before its VM runs. A snapshot does not report it.
  if (status == "active") {
    migrating = facts.never_ran == Fact::kNone ? Fact::kStands : Fact::kNone;
    return;
  }
  const bool completed = status == "completed";
  if (!completed && status != "failed" && status != "cancelled") return;
  const Fact was = std::exchange(migrating, Fact::kNone);
  if (was == Fact::kNone) return;
  if (!completed) return SawMigrationState("paused", "", now);
  Saw(&Evidence::migrated, "MIGRATION status=completed", now, EvidenceId::kMigration);
  // Where the migration may have failed unseen, what is complete may be a snapshot.
  if (was == Fact::kDoubted) Doubt(&facts.migrated);
}

void EvidenceLog::SawMigration(absl::string_view status, Instant now) {
  const bool goes = facts.never_ran == Fact::kNone && status != "failed" && status != "cancelled";
  migrating = goes && status != "completed" ? Fact::kStands : Fact::kNone;
  if (!goes) {
    SawMigrationState("paused", "", now);
  } else if (facts.paused != Fact::kNone &&
             (status == "completed" || status == "device" || status == "pre-switchover")) {
    SawMigrationState("finish-migrate", absl::StrCat("MIGRATION status=", status), now);
  }
}

void EvidenceLog::SawSignal(const SignalSender& sender, Instant now) {
  if (EndsTheHost(sender)) SawHostShutdown(true, sender.command, now);
  Rare<SignalSender>& known = sender.signal == SIGKILL ? facts.killer : facts.signaller;
  // Before its SHUTDOWN, QEMU obeyed the signal that came earlier.
  if (sender.signal != SIGKILL && known.has_value() && facts.shutdown.has_value()) return;
  // Facts that were read before the sender ended are not replaced.
  if (known.has_value() && known->signal == sender.signal && known->pid == sender.pid &&
      !known->cgroup.empty() && sender.cgroup.empty()) {
    return;
  }
  if (sender.signal != SIGKILL && known.has_value() && known->pid != sender.pid) {
    earlier_signaller = std::move(known);
  }
  known = sender;
  AddSignal(sender, now);
}

void EvidenceLog::AddSignal(const SignalSender& sender, Instant now) {
  std::erase_if(timeline, [&](const EvidenceEntry& entry) {
    return entry.id == EvidenceId::kSignalSent && entry.signal == sender.signal;
  });
  Saw(absl::StrCat(SignalName(sender.signal), " sent by ", DescribeSender(sender)), now,
      EvidenceId::kSignalSent);
  timeline.back().signal = sender.signal;
}

void EvidenceLog::SawHostShutdown(bool shutting_down, absl::string_view by, Instant now) {
  if (shutting_down == facts.host_shutdown) return;
  facts.host_shutdown = shutting_down;
  host_shutdown_at = shutting_down ? std::optional(now) : std::nullopt;
  Saw(absl::StrCat(
          shutting_down ? "the host began to shut down" : "the host's shutdown was cancelled",
          ", reported by ", by),
      now, EvidenceId::kHostShutdown);
}

void EvidenceLog::SawOomVictim(const OomVictim& victim, Instant now) {
  facts.oom_victim = true;
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

void EvidenceLog::SawSenderInLastWords(const SignalSender& sender, Instant now) {
  if (facts.killer.has_value()) return;
  if (facts.signaller.has_value()) {
    facts.words_name_signaller |= !facts.shutdown.has_value() && !facts.signaller->of_qemu &&
                                  facts.signaller->pid == sender.pid &&
                                  facts.signaller->signal == sender.signal;
    return;
  }
  if (facts.shutdown.has_value() && facts.shutdown->reason != ShutdownReason::kHostSignal) return;
  facts.signaller = sender;
  facts.words_name_signaller = !facts.shutdown.has_value();
  Saw(absl::StrCat("QEMU's last words: ", SignalName(sender.signal), " sent by ",
                   DescribeSender(sender)),
      now);
}

const SignalSender* EvidenceLog::SenderOfEnd() const {
  if (facts.shutdown.has_value()) {
    const bool by_it =
        facts.shutdown->reason == ShutdownReason::kHostSignal || facts.shutdown->after_signal;
    return by_it ? facts.signaller.get() : nullptr;
  }
  if (!facts.exit_status.has_value() && facts.words_name_signaller) return facts.signaller.get();
  if (!facts.exit_status.has_value() || facts.exit_status->signal == SIGKILL) {
    return facts.killer.get();
  }
  const bool by_it =
      facts.signaller.has_value() && (facts.signaller->signal == facts.exit_status->signal ||
                                      (facts.words_name_signaller && facts.exit_status->code == 0));
  return by_it ? facts.signaller.get() : nullptr;
}

void EvidenceLog::SawProcessEnd(const ProcessEnd& end, Instant now) {
  const auto saw = [&](std::string what) { Saw(std::move(what), now, EvidenceId::kNoSignOfLife); };
  saw(end.unseen ? "process gone while vmeventd was restarted" : "process gone");
  facts.exit_status = end.status;
  facts.oom_killed = end.oom_killed;
  if (end.status.has_value()) {
    saw(DescribeExit(*end.status));
  } else if (!decided()) {
    constexpr char kUnknown[] = "exit status not known";
    saw(end.status_unknown.empty() ? kUnknown : absl::StrCat(kUnknown, ": ", end.status_unknown));
  }
  if (end.oom_killed) saw("one more OOM kill in its cgroup");
  const int signal = end.status.has_value() ? end.status->signal : 0;
  const bool sender_known = signal == SIGKILL
                                ? facts.killer.has_value()
                                : facts.signaller.has_value() && facts.signaller->signal == signal;
  if (!end.sender_unknown.empty() && !sender_known) {
    saw(absl::StrCat("sender ", end.sender_unknown));
  }
}

}  // namespace vmeventd
