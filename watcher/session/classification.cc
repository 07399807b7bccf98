#include "watcher/session/classification.h"

#include <cstdint>

#include "absl/algorithm/container.h"
#include "watcher/session/classification_rules.h"

namespace vmeventd {
namespace {

// Returns whether the guest is down but its QEMU stays alive, so that a reset may start the guest
// again.
bool MayComeUpAgain(const Evidence& evidence) {
  if (!evidence.shutdown.has_value()) return false;
  return !EndsQemu(*evidence.shutdown) && evidence.shutdown->guest != false &&
         (evidence.stays_down || evidence.managed);
}

// Events that may have happened unseen.
struct Unseen {
  bool reset;   // or a return to a snapshot
  bool resume;  // `cont`
};

struct DoubtfulFact {
  Fact Evidence::*fact;
  Unseen voided_by;
};

constexpr DoubtfulFact kDoubtfulFacts[] = {
    {&Evidence::panic, {.reset = true, .resume = false}},
    {&Evidence::watchdog, {.reset = true, .resume = false}},
    {&Evidence::watchdog_paused, {.reset = true, .resume = true}},
    {&Evidence::watchdog_ended, {.reset = true, .resume = false}},
    {&Evidence::powerdown, {.reset = true, .resume = false}},
    {&Evidence::internal_error, {.reset = true, .resume = false}},
    {&Evidence::down_before_attach, {.reset = true, .resume = false}},
    {&Evidence::migrated, {.reset = true, .resume = true}},
    {&Evidence::finishing_migration, {.reset = false, .resume = true}},
    {&Evidence::never_ran, {.reset = false, .resume = true}},
    {&Evidence::incoming, {.reset = false, .resume = true}},
    {&Evidence::paused, {.reset = false, .resume = true}},
    {&Evidence::stop_unexplained, {.reset = false, .resume = true}},
    {&Evidence::hibernating, {.reset = true, .resume = false}},
};

// Returns the evidence as it would be without doubt, if `happened` is all that nobody saw.
Evidence Settled(const Evidence& evidence, Unseen happened) {
  Evidence settled = evidence;
  settled.unfollowed = false;
  for (const auto& [fact, voided_by] : kDoubtfulFacts) {
    if (evidence.*fact != Fact::kDoubted) continue;
    const bool is_void =
        (happened.reset && voided_by.reset) || (happened.resume && voided_by.resume);
    settled.*fact = is_void ? Fact::kNone : Fact::kStands;
  }
  if (!happened.reset) return settled;
  if (evidence.powerdown == Fact::kDoubted && settled.shutdown.has_value()) {
    settled.shutdown->powerdown_age.reset();
  }
  if (evidence.unfollowed && MayComeUpAgain(evidence)) settled.shutdown.reset();
  return settled;
}

// Returns whether the class depends on facts that a return to a snapshot, or a reset or a resume
// that nobody saw, may have made void.
bool DoubtMatters(const Evidence& evidence, absl::Duration powerdown_window) {
  const bool doubted = absl::c_any_of(kDoubtfulFacts, [&](const DoubtfulFact& each) {
    return evidence.*each.fact == Fact::kDoubted;
  });
  if (!doubted && !evidence.unfollowed) return false;
  const Verdict verdict = Classify(Settled(evidence, {}), powerdown_window);
  // The class is UNKNOWN anyway, by a rule that explains more.
  if (verdict.shutdown_class == ShutdownClass::kUnknown &&
      verdict.file_class == ShutdownClass::kUnknown) {
    return false;
  }
  constexpr Unseen kPossible[] = {{.reset = true, .resume = false},
                                  {.reset = false, .resume = true},
                                  {.reset = true, .resume = true}};
  return absl::c_any_of(kPossible, [&](const Unseen& happened) {
    return Classify(Settled(evidence, happened), powerdown_window).shutdown_class !=
           verdict.shutdown_class;
  });
}

}  // namespace

Verdict Classify(const Evidence& evidence, absl::Duration powerdown_window) {
  const bool in_window = evidence.shutdown.has_value() &&
                         evidence.shutdown->powerdown_age.has_value() &&
                         !evidence.shutdown->powerdown_cleared &&
                         *evidence.shutdown->powerdown_age <= powerdown_window;
  const RuleInput input{evidence, in_window, DoubtMatters(evidence, powerdown_window)};
  const Rule* rule = kClassificationRules;
  while (!rule->holds(input)) ++rule;  // the last one always holds
  if (evidence.intended) return {rule->intended_class, rule->cause, rule->id, rule->intended_class};
  return {rule->shutdown_class, rule->cause, rule->id,
          rule->file_class.value_or(rule->shutdown_class)};
}

bool EndsQemu(const ShutdownFact& shutdown) {
  return shutdown.reason == ShutdownReason::kHostQmpQuit ||
         shutdown.reason == ShutdownReason::kHostSignal || shutdown.after_signal;
}

bool EndsTheHost(const SignalSender& sender) {
  // systemd-shutdown runs as process 1, unless a container ends; killall5 is sysvinit's. The kernel
  // cuts a comm at 15 bytes.
  constexpr int64_t kInit = 1;
  return sender.uid == 0 && !sender.of_qemu &&
         ((sender.command == "systemd-shutdow" && sender.pid == kInit) ||
          sender.command == "killall5");
}

bool IsDecided(const Evidence& evidence) {
  return evidence.shutdown.has_value() || evidence.panic == Fact::kStands ||
         evidence.watchdog == Fact::kStands || evidence.watchdog_paused == Fact::kStands ||
         evidence.watchdog_ended == Fact::kStands || evidence.internal_error == Fact::kStands ||
         evidence.migrated == Fact::kStands || evidence.manager_end == ManagerEnd::kMigrated ||
         evidence.down_before_attach == Fact::kStands;
}

}  // namespace vmeventd
