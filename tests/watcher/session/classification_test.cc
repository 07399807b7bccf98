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
#include "tests/watcher/session/truth_table.h"
#include "vmeventd/contract/enums.h"
#include "watcher/session/classification_rules.h"

namespace vmeventd {
namespace {

using truth_table::Dimension, truth_table::Exits, truth_table::ForEachChoice, truth_table::kWindow;
using truth_table::Lives, truth_table::OtherDimensions, truth_table::Reasons, truth_table::Value;

TEST(ClassificationTest, TheTruthTableMatchesTheGoldenFile) {
  EXPECT_EQ(truth_table::Text(),
            e2e::ReadFile(VMEVENTD_SOURCE_DIR "/tests/golden/classification.txt"))
      << "if the change is intended: ./dev docs";
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

// The senders of a signal, as the kernel or only QEMU's last words show them.
std::vector<SignalSender> Senders() {
  std::vector<SignalSender> senders;
  for (const char* command : {"bash", "earlyoom", "virtqemud"}) {
    SignalSender sender{.signal = SIGTERM, .pid = 812, .command = std::string(command)};
    senders.push_back(sender);
    sender.from_last_words = true;
    senders.push_back(sender);
  }
  senders.push_back({.signal = SIGTERM, .by_kernel = true});
  senders.push_back({.signal = SIGTERM, .pid = 812, .of_qemu = true, .descent_unproven = true});
  senders.push_back({.signal = SIGTERM, .by_kernel = true, .ended_with = std::string("bash (7)")});
  return senders;
}

// A QEMU whose words name nobody is judged in the same way: qemu_words.h, SenderInLastWords.
Evidence WithoutLastWords(Evidence evidence) {
  evidence.words_name_signaller = false;
  if (evidence.signaller.has_value() && evidence.signaller->from_last_words) {
    evidence.signaller.reset();
  }
  return evidence;
}

// The holder of QEMU's monitor, and libvirt's report of the end.
Dimension Managers() {
  Dimension values = {{"plain", [](Evidence*) {}},
                      {"stays-down", [](Evidence* e) { e->stays_down = true; }},
                      {"managed", [](Evidence* e) { e->managed = true; }}};
  for (const ManagerEnd end :
       {ManagerEnd::kShutdown, ManagerEnd::kDestroyed, ManagerEnd::kFailed, ManagerEnd::kCrashed}) {
    values.push_back({absl::StrCat("managed:", static_cast<int>(end)), [end](Evidence* e) {
                        e->managed = true;
                        e->manager_end = end;
                      }});
  }
  return values;
}

TEST(ClassificationTest, WithoutQemusLastWordsTheClassIsTheSameOrUnknown) {
  const std::vector<Dimension> dimensions = {
      Reasons(),
      Exits(),
      Lives(),
      Managers(),
      {{"lost", [](Evidence*) {}}, {"monitored", [](Evidence* e) { e->monitored = true; }}},
      {{"host-up", [](Evidence*) {}}, {"host-down", [](Evidence* e) { e->host_shutdown = true; }}}};
  for (const SignalSender& sender : Senders()) {
    ForEachChoice(dimensions, [&](const std::vector<size_t>& choice) {
      Evidence evidence;
      for (size_t d = 0; d < choice.size(); ++d) dimensions[d][choice[d]].set(&evidence);
      // Words of a process that was killed or quit by another are not read for a sender.
      if (evidence.signaller.has_value() || evidence.killer.has_value()) return;
      evidence.signaller = sender;
      evidence.words_name_signaller = !evidence.shutdown.has_value();
      const Verdict with = Classify(evidence, kWindow);
      const Verdict without = Classify(WithoutLastWords(evidence), kWindow);
      // Only the words show that QEMU obeyed a memory killer's SIGTERM. Without them the reason is
      // that libvirt destroyed the VM, or that the host shut down.
      const bool is_other_reason =
          with.cause == ShutdownCause::kOutOfMemory &&
          (evidence.manager_end == ManagerEnd::kDestroyed || evidence.host_shutdown);
      ASSERT_TRUE(without.shutdown_class == with.shutdown_class || is_other_reason ||
                  without.shutdown_class == ShutdownClass::kUnknown)
          << with.rule << " becomes " << without.rule;
    });
  }
}

TEST(ClassificationTest, ACrashThatOnlyLibvirtReportsIsUnknown) {
  Evidence evidence;
  evidence.manager_end = ManagerEnd::kCrashed;
  for (const bool monitored : {false, true}) {
    evidence.monitored = monitored;
    for (const std::optional<ExitStatus> exit :
         {std::optional<ExitStatus>(), {{0, 0}}, {{1, 0}}, {{0, SIGKILL}}, {{0, SIGTERM}}}) {
      evidence.exit_status = exit;
      evidence.intended = false;
      for (const bool host_shutdown : {false, true}) {
        evidence.host_shutdown = host_shutdown;
        EXPECT_EQ(Classify(evidence, kWindow).shutdown_class, ShutdownClass::kUnknown);
      }
      evidence.intended = true;
      EXPECT_EQ(Classify(evidence, kWindow).shutdown_class, ShutdownClass::kAdmin);
    }
  }
  evidence.panic = Fact::kStands;
  EXPECT_EQ(Classify(evidence, kWindow).rule, "guest-panic");
}

TEST(ClassificationTest, MemoryKillersAreRecognizedByTheirNamesOrPrograms) {
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

TEST(ClassificationTest, TheContractAndTheRulesListTheSameMemoryKillers) {
  std::vector<absl::string_view> names(std::begin(kMemoryKillers), std::end(kMemoryKillers));
  EXPECT_THAT(e2e::ReadFile(VMEVENTD_SOURCE_DIR "/proto/vmeventd/v1/vm_events.proto"),
              testing::HasSubstr(absl::StrCat("(", absl::StrJoin(names, ", "), ")")));
  const absl::string_view last = names.back();
  names.pop_back();
  const std::string list = absl::StrCat(absl::StrJoin(names, ", "), " or ", last);
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

TEST(ClassificationTest, TheDocumentIsGeneratedFromTheTable) {
  EXPECT_EQ(ClassificationDocument(),
            e2e::ReadFile(VMEVENTD_SOURCE_DIR "/docs/internals/classification.md"))
      << "run ./dev docs";
}

}  // namespace
}  // namespace vmeventd
