#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <set>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/simulation/judge.h"
#include "watcher/session/classification.h"
#include "watcher/session/monitor_link.h"

namespace vmeventd::simulation {
namespace {

// The class that an intent makes of one: docs/internals/classification.md, column "intended".
ShutdownClass Intended(ShutdownClass is, const std::string& rule) {
  if (rule == "snapshot") return is;
  if (is == ShutdownClass::kUser || is == ShutdownClass::kUnknown) return ShutdownClass::kAdmin;
  if (rule == "qemu-killed") return ShutdownClass::kAdmin;
  return is;
}

// A monitor that closed so long before the process was gone was lost.
constexpr absl::Duration kMonitorGrace = absl::Milliseconds(900);

// Returns whether its last SHUTDOWN was sent before this time.
bool IsSaidBefore(const Life& life, absl::Duration time) {
  const auto last =
      std::find_if(life.reports.rbegin(), life.reports.rend(),
                   [](const Report& report) { return report.kind == Report::Kind::kShutdown; });
  return last != life.reports.rend() && last->at < time;
}

// Returns whether its QEMU ends after this panic, or after this expiry of its watchdog: it cannot
// be reset since.
bool EndsQemu(const Life& life, const Report& report) {
  if (report.text != "poweroff") return false;
  return report.kind == Report::Kind::kWatchdog ||
         (report.kind == Report::Kind::kPanic && !life.no_shutdown);
}

}  // namespace

absl::Duration Judge::CountedAt(const Life& life) const {
  absl::Duration at = started_at_;
  for (const Declared& intent : life.intents) {
    if (intent.answered < absl::InfiniteDuration() && !intent.counter_refused) {
      at = std::max(at, intent.asked);
    }
  }
  return at;
}

bool Judge::IsException(const Life& life, const v1::Event& stopped, int daemon) const {
  const v1::ShutdownDetail& detail = stopped.shutdown();
  const auto is = static_cast<ShutdownClass>(detail.shutdown_class());
  const bool doubted =
      absl::c_linear_search(detail.caveats(), v1::SHUTDOWN_CAVEAT_POWERDOWN_UNSEEN);
  // A guest that obeys looks as one that powers itself off where nobody saw the press, of which the
  // caveat tells. A watchdog presses as well.
  const bool pressed = life.ending == &endings::kGuestObeysPress ||
                       life.ending == &endings::kGuestRebootsAfterPress ||
                       life.ending == &endings::kWatchdogPresses;
  // No guest is expected to obey a press in the first seconds of its QEMU.
  const bool early = life.pressed >= life.began && life.pressed < life.began + kGuestObeys;
  if (pressed && is == ShutdownClass::kUser && (doubted || early)) return true;
  // The counter of a cgroup does not say which of its processes was killed: without records of
  // signals a kill counts as one for memory, if another was killed for that since the daemon last
  // read the counter.
  const bool killed = life.process->wait_status == SIGKILL;
  if (is == ShutdownClass::kCrash && killed && life.others_oom_kill >= CountedAt(life)) return true;
  // Nobody has asked for the run state since the error, since a panic of its guest or an expiry of
  // its watchdog that this daemon does not know, or since the guest was down, of a VM that ends as
  // soon as it is connected to, or as soon as it was handed over.
  const auto error =
      std::find_if(life.reports.rbegin(), life.reports.rend(),
                   [](const Report& report) { return report.kind == Report::Kind::kStop; });
  const bool asked = absl::c_any_of(life.reports, [&](const Report& report) {
    return report.kind == Report::Kind::kRunState && report.is_known(daemon) &&
           (error == life.reports.rend() || report.at >= error->at);
  });
  const bool was_stricken =
      (life.ending == &endings::kGuestPanics || life.ending == &endings::kWatchdogExpires) &&
      absl::c_none_of(life.reports, [&](const Report& report) {
        return (report.kind == Report::Kind::kPanic || report.kind == Report::Kind::kWatchdog) &&
               report.is_known(daemon);
      });
  const bool was_down = life.ending == &endings::kGuestPowersOff && life.no_shutdown;
  return (life.ending == &endings::kInternalError || was_stricken || was_down) &&
         is == ShutdownClass::kAdmin && !asked;
}

Fault Judge::FaultOfProcess(const Life& life, int daemon) const {
  if (life.ended_under != daemon) return Fault::kEndedUnattended;
  // The daemon waits 0.9 s for a parent that reaps late.
  const bool reads_exit = kernel_->features().pidfd_exit &&
                          life.process->reaped_at < life.gone_at + absl::Milliseconds(800);
  if (!reads_exit) return Fault::kStatusUnreadable;
  const bool killed = life.sender != -1;
  // The counter of its cgroup shows a kill for memory, too.
  if (killed && life.kill_seen_by != daemon && life.ending != &endings::kRunsOutOfMemory) {
    return Fault::kSenderUnrecorded;
  }
  if (life.uuid.empty()) {
    return life.gone_at - life.left_daemon_at < kMonitorGrace ? Fault::kNone
                                                              : Fault::kMonitorUnfollowed;
  }
  return Fault::kNone;
}

Fault Judge::FaultOf(const Life& life, const v1::Event& stopped, int daemon) const {
  using enum Report::Kind;
  // A process that is not known has an end that shows nothing: its QEMU has never sent anything.
  if (life.ending == nullptr) return Fault::kLives;
  const Ending& ending = *life.ending;
  if (ending.truth == ShutdownClass::kUnknown) return Fault::kNobodyKnows;
  if (stopped.vm().pid() != life.process->pid) return Fault::kProcessUnknown;
  if (&ending == &endings::kKilledInMigration || &ending == &endings::kDomainKilledInMigration) {
    return Fault::kMayHaveMigrated;
  }
  if (&ending == &endings::kCrashes && life.guest_can_exit) return Fault::kGuestMayEndIt;
  // Nothing that comes after it changes the class.
  if (absl::c_any_of(life.reports, [&](const Report& report) {
        return EndsQemu(life, report) && report.is_known(daemon) && !report.unsure;
      })) {
    return Fault::kNone;
  }
  // Reports from before a daemon asked for the run state count only if they still stand.
  const auto first = absl::c_find_if(life.reports, [](const Report& report) {
    return report.kind == kRunState && report.was_read();
  });
  if (first == life.reports.end()) return Fault::kNeverAsked;
  for (auto it = life.reports.begin(); it != life.reports.end(); ++it) {
    if (it->unsure) return Fault::kBeforeFirstList;
    const bool matters = it > first
                             ? it->kind != kRunState && it->kind != kOther
                             : it->kind != kRunState && it->kind != kOther && it->kind != kResume;
    if (matters && !it->is_known(daemon)) return Fault::kNotAllRead;
  }
  if (life.voidable > -absl::InfiniteDuration() && life.voidable <= life.unseen_at) {
    return Fault::kResetMissed;
  }
  if (life.resumed_since) return Fault::kSnapshot;
  if (&ending == &endings::kMigrated || &ending == &endings::kInternalError) {
    const bool answered = absl::c_any_of(life.reports, [&](const Report& report) {
      return report.kind == kRunState && report.is_known(daemon) &&
             report.text == (&ending == &endings::kMigrated ? "postmigrate" : "internal-error");
    });
    if (!answered) return Fault::kAskedLate;
  }
  const bool reported = absl::c_any_of(life.reports, [&](const Report& report) {
    return report.kind == kManager && report.was_read() && report.daemon == daemon;
  });
  if (!life.uuid.empty() && !reported) return Fault::kNotReported;
  if (ending.by == Ending::By::kProcess) return FaultOfProcess(life, daemon);
  const bool followed = life.uuid.empty() ? life.gone_at - life.left_daemon_at < kMonitorGrace
                                          : life.unseen_at < life.reports.back().at;
  if (life.no_shutdown && (life.ended_under != daemon || !followed)) {
    return Fault::kMayBeUpAgain;
  }
  return Fault::kNone;
}

bool Judge::KnowsOfMigration(const Life& life, int daemon) const {
  if (life.ending != &endings::kKilledInMigration &&
      life.ending != &endings::kDomainKilledInMigration) {
    return false;
  }
  const auto stop =
      std::find_if(life.reports.rbegin(), life.reports.rend(),
                   [](const Report& report) { return report.kind == Report::Kind::kStop; });
  if (life.uuid.empty()) {
    return std::any_of(life.reports.rbegin(), stop, [&](const Report& report) {
      return report.kind == Report::Kind::kRunState && report.text == "finish-migrate" &&
             report.is_known(daemon);
    });
  }
  const auto active = std::find_if(stop, life.reports.rend(), [](const Report& report) {
    return report.kind == Report::Kind::kOther && report.text == "active";
  });
  return stop != life.reports.rend() && active != life.reports.rend() && stop->is_known(daemon) &&
         active->is_known(daemon) && !stop->unsure && !active->unsure;
}

void Judge::CheckClass(const Life& life, const v1::Event& stopped, int daemon) {
  const v1::ShutdownDetail& detail = stopped.shutdown();
  const auto is = static_cast<ShutdownClass>(detail.shutdown_class());
  const Fault fault = FaultOf(life, stopped, daemon);
  const bool has_fault = fault != Fault::kNone;
  story_->Reach(has_fault ? absl::StrCat("fault: ", SentenceOf(fault)) : "an end without faults");
  std::set<ShutdownClass> allowed;
  for (const bool is_intended : MayBeIntended(life)) {
    const auto add = [&](ShutdownClass each) {
      allowed.insert(is_intended ? Intended(each, detail.rule()) : each);
    };
    if (KnowsOfMigration(life, daemon)) {
      add(ShutdownClass::kUnknown);
      continue;
    }
    if (life.ending != nullptr) add(life.ending->truth);
    if (has_fault) add(ShutdownClass::kUnknown);
  }
  if (!allowed.contains(is) && (life.ending == nullptr || !IsException(life, stopped, daemon))) {
    std::vector<std::string> names;
    names.reserve(allowed.size());
    for (const ShutdownClass each : allowed) names.emplace_back(ShutdownClassName(each));
    story_->Fail("life ", life.number, " (", life.ending == nullptr ? "" : life.ending->what,
                 ") is classified ", ShutdownClassName(is), " by ", detail.rule(), "; it may be ",
                 absl::StrJoin(names, " or "),
                 has_fault ? absl::StrCat(", as ", SentenceOf(fault)) : "");
  }
  if (life.ending != nullptr) CheckDetail(life, stopped, fault, daemon);
  CheckEvidence(life, detail, daemon);
  CheckPressDoubt(life, detail, daemon);
}

void Judge::CheckPressDoubt(const Life& life, const v1::ShutdownDetail& detail, int daemon) const {
  if (!absl::c_linear_search(detail.caveats(), v1::SHUTDOWN_CAVEAT_POWERDOWN_UNSEEN)) return;
  const auto reset =
      std::find_if(life.reports.rbegin(), life.reports.rend(), [&](const Report& report) {
        return report.kind == Report::Kind::kReset && report.was_read() && report.daemon == daemon;
      });
  if (reset != life.reports.rend() && reset->at >= started_at_ && daemon == number_ &&
      life.unseen_at < reset->at) {
    story_->Fail("life ", life.number,
                 " was followed since its reset, and a press may have been missed");
  }
}

void Judge::CheckDetail(const Life& life, const v1::Event& stopped, Fault fault, int daemon) const {
  const v1::ShutdownDetail& detail = stopped.shutdown();
  const Ending& ending = *life.ending;
  const auto wrong = [&](const auto&... what) {
    story_->Fail("life ", life.number, " (", ending.what, "), by ", detail.rule(), ": ", what...);
  };
  const auto cause = static_cast<ShutdownCause>(detail.cause());
  // Others judge these.
  const bool others = cause == ShutdownCause::kHostShutdown ||
                      cause == ShutdownCause::kUnobserved || detail.has_intent() ||
                      (&ending == &endings::kHostShutsDown && life.ended_under != daemon) ||
                      ending.causes.size() == 0;
  const bool unread = absl::c_any_of(life.reports, [daemon](const Report& report) {
    return (report.kind == Report::Kind::kReset || report.kind == Report::Kind::kResume) &&
           !report.is_known(daemon);
  });
  const bool doubtful =
      unread || life.resumed_since || life.others_oom_kill > -absl::InfiniteDuration() ||
      (life.voidable > -absl::InfiniteDuration() && life.voidable <= life.unseen_at);
  // QEMU reports the reason of its end since 4.0; a signal before its SHUTDOWN shows it, too.
  const bool tells_why = life.major >= 4 || (&ending == &endings::kSignal &&
                                             life.kill_seen_by == daemon && !clock_steps_);
  const bool legacy_press = life.major < 4 && cause == ShutdownCause::kHostPowerdown &&
                            life.pressed > -absl::InfiniteDuration();
  if (static_cast<ShutdownClass>(detail.shutdown_class()) == ending.truth && !others && !doubtful &&
      !legacy_press) {
    const auto known = absl::c_find(ending.causes, cause);
    const bool exact = fault == Fault::kNone && tells_why;
    if (known == ending.causes.end() || (exact && known != ending.causes.begin())) {
      wrong("its cause is said to be ", ShutdownCauseName(cause));
    }
  }
  if (detail.has_sender()) {
    const int64_t sender = detail.sender().kernel() ? 0 : detail.sender().pid();
    // Which of two signals QEMU obeyed is not handed over.
    const bool waited = life.handed_to == daemon && IsSaidBefore(life, started_at_);
    if (sender != life.sender && !(waited && &ending == &endings::kSignal))
      wrong("sender ", sender, " instead of ", life.sender);
  } else if (fault == Fault::kNone && tells_why && life.kill_seen_by == daemon &&
             life.sender != -1 &&
             (ending.by == Ending::By::kProcess || &ending == &endings::kSignal)) {
    wrong("its sender ", life.sender, " is missing");
  }
  if (cause == ShutdownCause::kProcessExited &&
      (detail.has_exit_code() || detail.has_exit_signal())) {
    wrong("its end is not known how, and its exit status is");
  }
  const int status = life.process->wait_status;
  const bool by_signal = WIFSIGNALED(status);
  if ((detail.has_exit_code() && (by_signal || detail.exit_code() != WEXITSTATUS(status))) ||
      (detail.has_exit_signal() &&
       detail.exit_signal().number() != (by_signal ? WTERMSIG(status) : 0))) {
    wrong("its process ended otherwise: wait status ", status);
  }
}

// Each entry of its evidence stands: it was sent since the last reset that the daemon has read.
void Judge::CheckEvidence(const Life& life, const v1::ShutdownDetail& detail, int daemon) const {
  using enum Report::Kind;
  std::set<Report::Kind> seen;
  bool paused_by_watchdog = false;
  for (const Report& report : life.reports) {
    if (report.kind == kReset && report.is_known(daemon)) seen.clear();
    seen.insert(report.kind);
    if (report.kind == kWatchdog && report.text == "pause") paused_by_watchdog = true;
    const bool runs_again = report.kind == kReset || report.kind == kResume;
    if (runs_again && report.was_read() && report.daemon == daemon) paused_by_watchdog = false;
    if (report.kind == kRunState && report.text == "guest-panicked") seen.insert(kPanic);
  }
  const auto check = [&](absl::string_view what, Report::Kind kind) {
    if (seen.contains(kind)) return;
    story_->Fail("life ", life.number, " has the evidence \"", what,
                 "\", which was not said since its last reset");
  };
  if (detail.has_panic()) check("panic", kPanic);
  if (detail.cause() == v1::SHUTDOWN_CAUSE_HOST_POWERDOWN) check("powerdown age", kPowerdown);
  constexpr std::pair<absl::string_view, Report::Kind> kEntries[] = {
      {"POWERDOWN", kPowerdown},  {"WATCHDOG", kWatchdog},
      {"GUEST_PANICKED", kPanic}, {"SUSPEND_DISK", kHibernate},
      {"SHUTDOWN", kShutdown},    {"the guest ignored its watchdog", kWatchdog}};
  for (const v1::Evidence& entry : detail.evidence()) {
    if (absl::StartsWith(entry.what(), "WATCHDOG action=pause") && !paused_by_watchdog) {
      story_->Fail("life ", life.number,
                   " was resumed since its watchdog paused it, and has the "
                   "evidence of that");
    }
    for (const auto& [text, kind] : kEntries) {
      if (absl::StartsWith(entry.what(), text)) check(entry.what(), kind);
    }
  }
}

}  // namespace vmeventd::simulation
