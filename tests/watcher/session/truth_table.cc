#include "tests/watcher/session/truth_table.h"

#include <csignal>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "vmeventd/contract/enums.h"
#include "watcher/core/process_end.h"
#include "watcher/core/signal_sender.h"
#include "watcher/session/classification.h"

namespace vmeventd::truth_table {
namespace {

void SetKiller(Evidence* evidence, SignalSender sender) {
  evidence->exit_status = {0, SIGKILL};
  sender.signal = SIGKILL;
  evidence->killer = std::move(sender);
}

Value Exit(std::string name, ExitStatus status) {
  return {std::move(name), [status](Evidence* evidence) { evidence->exit_status = status; }};
}

// Sets a part of the SHUTDOWN, where there is one.
Value OfShutdown(std::string name, std::function<void(ShutdownFact*)> set) {
  return {std::move(name), [set = std::move(set)](Evidence* evidence) {
            if (evidence->shutdown.has_value()) set(&*evidence->shutdown);
          }};
}

// "rule CLASS, intended CLASS"; an intent that changed the rule would add that.
std::string VerdictOf(const Value& reason, const std::vector<Dimension>& dimensions,
                      const std::vector<size_t>& choice) {
  Evidence evidence;
  reason.set(&evidence);
  for (size_t d = 0; d < dimensions.size(); ++d) dimensions[d][choice[d]].set(&evidence);
  const Verdict verdict = Classify(evidence, kWindow);
  evidence.intended = true;
  const Verdict intended = Classify(evidence, kWindow);
  return absl::StrCat(verdict.rule, " ", ShutdownClassName(verdict.shutdown_class), ", intended ",
                      intended.rule == verdict.rule ? "" : absl::StrCat(intended.rule, " "),
                      ShutdownClassName(intended.shutdown_class));
}

// Returns whether a dimension changes any of the verdicts, which are in the order of ForEachChoice.
bool Matters(const std::vector<std::string>& verdicts, const std::vector<Dimension>& dimensions,
             size_t dimension) {
  size_t stride = 1;
  for (size_t d = dimension + 1; d < dimensions.size(); ++d) stride *= dimensions[d].size();
  for (size_t i = 0; i < verdicts.size(); ++i) {
    const size_t first = i - i / stride % dimensions[dimension].size() * stride;
    if (verdicts[i] != verdicts[first]) return true;
  }
  return false;
}

}  // namespace

Dimension Reasons() {
  Dimension values = {{"none", [](Evidence*) {}}};
  const std::pair<const char*, ShutdownReason> reasons[] = {
      {"host-error", ShutdownReason::kHostError},
      {"host-qmp-quit", ShutdownReason::kHostQmpQuit},
      {"host-qmp-system-reset", ShutdownReason::kHostQmpSystemReset},
      {"host-signal", ShutdownReason::kHostSignal},
      {"host-ui", ShutdownReason::kHostUi},
      {"guest-shutdown", ShutdownReason::kGuestShutdown},
      {"guest-reset", ShutdownReason::kGuestReset},
      {"guest-panic", ShutdownReason::kGuestPanic},
      {"missing", ShutdownReason::kMissing},
      {"unknown", ShutdownReason::kOther},
  };
  for (const auto& [name, reason] : reasons) {
    values.push_back(
        {name, [of = reason](Evidence* e) { e->shutdown = ShutdownFact{.reason = of}; }});
  }
  return values;
}

Dimension Exits() {
  return {
      {"exit:-", [](Evidence*) {}},
      Exit("exit:0", {0, 0}),
      Exit("exit:1", {1, 0}),
      Exit("exit:SIGHUP", {0, SIGHUP}),
      Exit("exit:SIGINT", {0, SIGINT}),
      Exit("exit:SIGTERM", {0, SIGTERM}),
      Exit("exit:SIGKILL", {0, SIGKILL}),
      {"exit:SIGKILL-oom",
       [](Evidence* e) {
         e->exit_status = {0, SIGKILL};
         e->oom_killed = true;
       }},
      {"exit:SIGKILL-host", [](Evidence* e) { SetKiller(e, {.pid = 812}); }},
      {"exit:SIGKILL-host-oom",
       [](Evidence* e) {
         SetKiller(e, {.pid = 812});
         e->oom_killed = true;
       }},
      {"exit:SIGKILL-earlyoom",
       [](Evidence* e) { SetKiller(e, {.pid = 812, .command = std::string("earlyoom")}); }},
      {"exit:SIGKILL-own", [](Evidence* e) { SetKiller(e, {.pid = 812, .of_qemu = true}); }},
      {"exit:SIGKILL-orphan",
       [](Evidence* e) { SetKiller(e, {.pid = 812, .of_qemu = true, .descent_unproven = true}); }},
      {"exit:SIGKILL-kernel", [](Evidence* e) { SetKiller(e, {.by_kernel = true}); }},
      {"exit:SIGKILL-parent",
       [](Evidence* e) { SetKiller(e, {.by_kernel = true, .ended_with = "bash (pid 7)"}); }},
      {"exit:SIGKILL-container",
       [](Evidence* e) { SetKiller(e, {.by_kernel = true, .first_process = 4700}); }},
      {"exit:SIGKILL-kernel-victim",
       [](Evidence* e) {
         SetKiller(e, {.by_kernel = true});
         e->oom_victim = true;
       }},
      {"exit:-host",
       [](Evidence* e) {
         SetKiller(e, {.pid = 812});
         e->exit_status.reset();
       }},
      Exit("exit:SIGQUIT", {0, SIGQUIT}),
      {"exit:SIGQUIT-host",
       [](Evidence* e) {
         e->exit_status = {0, SIGQUIT};
         e->signaller = SignalSender{.signal = SIGQUIT, .pid = 812};
       }},
      Exit("exit:SIGABRT", {0, SIGABRT}),
      Exit("exit:SIGSEGV", {0, SIGSEGV})};
}

std::vector<Dimension> OtherDimensions() {
  return {
      {OfShutdown("guest:-", [](ShutdownFact*) {}),
       OfShutdown("guest:false", [](ShutdownFact* fact) { fact->guest = false; }),
       OfShutdown("guest:true", [](ShutdownFact* fact) { fact->guest = true; })},
      {OfShutdown("powerdown:no", [](ShutdownFact*) {}),
       OfShutdown("powerdown:in", [](ShutdownFact* fact) { fact->powerdown_age = kWindow; }),
       OfShutdown(
           "powerdown:out",
           [](ShutdownFact* fact) { fact->powerdown_age = kWindow + absl::Nanoseconds(1); })},
      {{"hibernating:no", [](Evidence*) {}},
       {"hibernating:yes", [](Evidence* e) { e->hibernating = Fact::kStands; }}},
      {{"monitored:no", [](Evidence*) {}},
       {"monitored:yes", [](Evidence* e) { e->monitored = true; }}},
      Exits(),
  };
}

Dimension Lives() {
  return {{"life:ran", [](Evidence*) {}},
          {"life:inmigrate", [](Evidence* e) { e->never_ran = e->incoming = Fact::kStands; }},
          {"life:prelaunch", [](Evidence* e) { e->never_ran = Fact::kStands; }},
          {"life:finish-migrate", [](Evidence* e) { e->finishing_migration = Fact::kStands; }},
          {"life:stop", [](Evidence* e) { e->stop_unexplained = Fact::kStands; }}};
}

void ForEachChoice(const std::vector<Dimension>& dimensions,
                   const std::function<void(const std::vector<size_t>&)>& visit) {
  std::vector<size_t> choice(dimensions.size(), 0);
  while (true) {
    visit(choice);
    size_t d = dimensions.size();
    while (d > 0 && ++choice[d - 1] == dimensions[d - 1].size()) choice[--d] = 0;
    if (d == 0) return;
  }
}

std::string Text() {
  std::string table;
  std::vector<Dimension> dimensions = OtherDimensions();
  dimensions.push_back(Lives());
  for (const Value& reason : Reasons()) {
    std::vector<std::string> verdicts;
    ForEachChoice(dimensions, [&](const std::vector<size_t>& choice) {
      verdicts.push_back(VerdictOf(reason, dimensions, choice));
    });
    std::vector<bool> matters;
    for (size_t d = 0; d < dimensions.size(); ++d) {
      matters.push_back(Matters(verdicts, dimensions, d));
    }
    size_t next = 0;
    ForEachChoice(dimensions, [&](const std::vector<size_t>& choice) {
      const std::string& verdict = verdicts[next++];
      std::vector<std::string> words = {absl::StrCat("shutdown:", reason.name)};
      for (size_t d = 0; d < dimensions.size(); ++d) {
        if (!matters[d] && choice[d] != 0) return;
        if (matters[d]) words.push_back(dimensions[d][choice[d]].name);
      }
      absl::StrAppend(&table, absl::StrJoin(words, " "), " => ", verdict, "\n");
    });
  }
  return table;
}

}  // namespace vmeventd::truth_table
