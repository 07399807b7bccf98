#include "watcher/session/classification.h"

#include <csignal>
#include <functional>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/files.h"
#include "tests/watcher/session/classification_document.h"
#include "vmeventd/contract/enums.h"
#include "watcher/session/classification_rules.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kWindow = absl::Minutes(10);

// One value of one kind of evidence, and its name in the truth table.
struct Value {
  std::string name;
  std::function<void(Evidence*)> set;
};
using Dimension = std::vector<Value>;

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
      {{"exit:-", [](Evidence*) {}},
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
       Exit("exit:SIGSEGV", {0, SIGSEGV})},
  };
}

// Whether the VM was seen running, and whether it was migrating.
Dimension Lives() {
  return {{"life:ran", [](Evidence*) {}},
          {"life:inmigrate", [](Evidence* e) { e->never_ran = e->incoming = Fact::kStands; }},
          {"life:prelaunch", [](Evidence* e) { e->never_ran = Fact::kStands; }},
          {"life:finish-migrate", [](Evidence* e) { e->finishing_migration = Fact::kStands; }},
          {"life:stop", [](Evidence* e) { e->stop_unexplained = Fact::kStands; }}};
}

// "rule CLASS, intended CLASS".
std::string VerdictOf(const Value& reason, const std::vector<Dimension>& dimensions,
                      const std::vector<size_t>& choice) {
  Evidence evidence;
  reason.set(&evidence);
  for (size_t d = 0; d < dimensions.size(); ++d) dimensions[d][choice[d]].set(&evidence);
  const Verdict verdict = Classify(evidence, kWindow);
  evidence.intended = true;
  const Verdict intended = Classify(evidence, kWindow);
  EXPECT_EQ(intended.rule, verdict.rule);
  EXPECT_EQ(intended.cause, verdict.cause);
  return absl::StrCat(verdict.rule, " ", ShutdownClassName(verdict.shutdown_class), ", intended ",
                      ShutdownClassName(intended.shutdown_class));
}

// Calls `visit` with each combination of one value a dimension.
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

// Every combination of a SHUTDOWN and what surrounds it; evidence that does not matter for a
// reason is left out of its lines.
std::string TruthTable() {
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

TEST(ClassificationTest, TheTruthTableIsTheAgreedOne) {
  EXPECT_EQ(TruthTable(), e2e::ReadFile(VMEVENTD_SOURCE_DIR "/tests/golden/classification.txt"));
}

TEST(ClassificationTest, EvidenceThatOverridesAShutdownDoesSoInEveryCombination) {
  const std::vector<Dimension> dimensions = OtherDimensions();
  for (const Value& reason : Reasons()) {
    ForEachChoice(dimensions, [&](const std::vector<size_t>& choice) {
      for (int bits = 1; bits < 64; ++bits) {
        Evidence evidence;
        reason.set(&evidence);
        for (size_t d = 0; d < dimensions.size(); ++d) dimensions[d][choice[d]].set(&evidence);
        evidence.migrated = (bits & 1) != 0 ? Fact::kStands : Fact::kNone;
        evidence.panic = (bits & 2) != 0 ? Fact::kStands : Fact::kNone;
        evidence.watchdog = (bits & 4) != 0 ? Fact::kStands : Fact::kNone;
        evidence.down_before_attach = (bits & 8) != 0 ? Fact::kStands : Fact::kNone;
        evidence.host_rebooted = (bits & 16) != 0;
        evidence.internal_error = (bits & 32) != 0 ? Fact::kStands : Fact::kNone;
        const char* expected = evidence.host_rebooted                     ? "host-rebooted"
                               : evidence.migrated == Fact::kStands       ? "migrated-away"
                               : evidence.panic == Fact::kStands          ? "guest-panic"
                               : evidence.watchdog == Fact::kStands       ? "watchdog"
                               : evidence.internal_error == Fact::kStands ? "internal-error"
                                                                          : "down-before-attach";
        ASSERT_EQ(Classify(evidence, kWindow).rule, expected) << reason.name << " " << bits;
        ASSERT_TRUE(IsDecided(evidence) || bits == 16);
      }
    });
  }
}

TEST(ClassificationTest, IsUndecidedWithoutAnyEvidenceOfAnEnd) {
  Evidence evidence;
  evidence.monitored = true;
  evidence.hibernating = Fact::kStands;
  EXPECT_FALSE(IsDecided(evidence));
}

TEST(ClassificationTest, AnAccidentStaysACrashDespiteAnIntent) {
  for (const Rule& rule : kClassificationRules) {
    const absl::string_view cause = ShutdownCauseName(rule.cause);
    const bool accident = cause == "GUEST_PANIC" || cause == "WATCHDOG" || cause == "HOST_ERROR" ||
                          cause == "QEMU_CRASHED" || cause == "OUT_OF_MEMORY";
    EXPECT_TRUE(!accident || rule.shutdown_class == ShutdownClass::kCrash) << rule.id;
    const bool unseen =
        rule.id == absl::string_view("host-rebooted") || rule.id == absl::string_view("snapshot");
    EXPECT_EQ(rule.intended_class, accident || unseen ? rule.shutdown_class : ShutdownClass::kAdmin)
        << rule.id;
  }
}

TEST(ClassificationTest, AVmThatNeverRanHereHasNotCrashed) {
  const std::vector<Dimension> dimensions = OtherDimensions();
  for (const Value& life : Lives()) {
    if (life.name == "life:ran") continue;
    ForEachChoice(dimensions, [&](const std::vector<size_t>& choice) {
      Evidence evidence;
      for (size_t d = 0; d < choice.size(); ++d) dimensions[d][choice[d]].set(&evidence);
      life.set(&evidence);
      EXPECT_NE(Classify(evidence, kWindow).shutdown_class, ShutdownClass::kCrash) << life.name;
    });
  }
}

TEST(ClassificationTest, ACrashThatOnlyLibvirtReportsIsUnknown) {
  Evidence evidence;
  evidence.manager_end = ManagerEnd::kCrashed;
  for (const bool monitored : {false, true}) {
    evidence.monitored = monitored;
    for (const std::optional<ExitStatus> exit :
         {std::optional<ExitStatus>(), {{0, 0}}, {{1, 0}}, {{0, SIGKILL}}}) {
      evidence.exit_status = exit;
      evidence.intended = false;
      EXPECT_EQ(Classify(evidence, kWindow).shutdown_class, ShutdownClass::kUnknown);
      evidence.intended = true;
      EXPECT_EQ(Classify(evidence, kWindow).shutdown_class, ShutdownClass::kAdmin);
    }
  }
  evidence.panic = Fact::kStands;
  EXPECT_EQ(Classify(evidence, kWindow).rule, "guest-panic");
}

TEST(ClassificationTest, AnExitIsDescribedForPeople) {
  EXPECT_EQ(DescribeExit({0, 0}), "exit code 0");
  EXPECT_EQ(DescribeExit({3, 0}), "exit code 3");
  EXPECT_EQ(DescribeExit({0, SIGKILL}), "exit signal 9 (SIGKILL)");
  EXPECT_EQ(DescribeExit({0, 34}), "exit signal 34");
}

TEST(ClassificationTest, ASenderIsDescribedForPeople) {
  EXPECT_EQ(DescribeSender({.by_kernel = true}), "the kernel");
  EXPECT_EQ(DescribeSender({.pid = 812}), "a process that is gone (pid 812)");
  EXPECT_EQ(DescribeSender({.pid = 812, .of_qemu = true}),
            "QEMU or a process of its own (pid 812)");
  EXPECT_EQ(DescribeSender({.pid = 812, .uid = 0, .command = std::string("bash")}),
            "bash (pid 812, uid 0)");
  for (const char* name : {"", "  "}) {
    EXPECT_EQ(DescribeSender({.pid = 812, .uid = 0, .command = std::string(name)}),
              "a process without a name (pid 812, uid 0)");
  }
  EXPECT_EQ(DescribeSender({.pid = 812,
                            .uid = 107,
                            .command = std::string("virtqemud"),
                            .cgroup = std::string("/system.slice/virtqemud.service"),
                            .of_qemu = true}),
            "virtqemud (pid 812, uid 107, /system.slice/virtqemud.service, of QEMU's own)");
}

TEST(ClassificationTest, MemoryKillersAreKnownByTheirNamesOrTheirPrograms) {
  for (const char* name : {"systemd-oomd", "earlyoom", "nohang", "oomd"}) {
    EXPECT_TRUE(IsMemoryKiller({.command = std::string(name)})) << name;
    EXPECT_TRUE(IsMemoryKiller({.executable = std::string(absl::StrCat("/usr/bin/", name))}))
        << name;
  }
  EXPECT_FALSE(IsMemoryKiller({.command = std::string("earlyoom"), .of_qemus_user = true}));
  EXPECT_FALSE(IsMemoryKiller({.executable = std::string("/bin/earlyoom"), .of_qemus_user = true}));
  for (const char* name : {"", "zoomd", "earlyoom2", "oom", "kill"}) {
    EXPECT_FALSE(IsMemoryKiller({.command = std::string(name), .executable = std::string(name)}))
        << name;
  }
}

TEST(ClassificationTest, EachListOfMemoryKillersIsTheSame) {
  std::vector<absl::string_view> names(std::begin(kMemoryKillers), std::end(kMemoryKillers));
  EXPECT_THAT(e2e::ReadFile(VMEVENTD_SOURCE_DIR "/proto/vmeventd/v1/vm_events.proto"),
              testing::HasSubstr(absl::StrCat("(", absl::StrJoin(names, ", "), ")")));
  const absl::string_view last = names.back();
  names.pop_back();
  const std::string list = absl::StrCat(absl::StrJoin(names, ", "), " or ", last);
  EXPECT_THAT(e2e::ReadFile(VMEVENTD_SOURCE_DIR "/docs/answers.md"), testing::HasSubstr(list));
  for (const Rule& rule : kClassificationRules) {
    if (rule.cause != ShutdownCause::kOutOfMemory) continue;
    EXPECT_THAT(rule.condition, testing::HasSubstr(list)) << rule.id;
  }
}

TEST(ClassificationTest, RuleIdsAreUnique) {
  std::set<std::string> ids;
  for (const Rule& rule : kClassificationRules) {
    EXPECT_TRUE(ids.insert(rule.id).second) << rule.id;
  }
}

TEST(ClassificationTest, EveryReasonOfQemuIsKnown) {
  // qapi/run-state.json of QEMU 7.2, without those that end no VM.
  for (const char* reason : {"host-error", "host-qmp-quit", "host-qmp-system-reset", "host-signal",
                             "host-ui", "guest-shutdown", "guest-reset", "guest-panic"}) {
    EXPECT_NE(ParseShutdownReason(reason), ShutdownReason::kOther) << reason;
  }
  EXPECT_EQ(ParseShutdownReason(""), ShutdownReason::kMissing);
  EXPECT_EQ(ParseShutdownReason("snapshot-load"), ShutdownReason::kOther);
}

TEST(ClassificationTest, TheDocumentIsGeneratedFromTheTable) {
  EXPECT_EQ(ClassificationDocument(),
            e2e::ReadFile(VMEVENTD_SOURCE_DIR "/docs/internals/classification.md"))
      << "run ./dev docs";
}

}  // namespace
}  // namespace vmeventd
