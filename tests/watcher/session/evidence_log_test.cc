#include "watcher/session/evidence_log.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class EvidenceLogTest : public testing::Test {
 protected:
  std::vector<std::string> Timeline() const {
    std::vector<std::string> timeline;
    for (const EvidenceEntry& entry : log_.timeline()) timeline.push_back(entry.what);
    return timeline;
  }
  void SawShutdown() {
    log_.SawShutdown({.reason = ShutdownReason::kGuestShutdown}, "SHUTDOWN", {.name = "SHUTDOWN"},
                     now_, now_);
  }
  void Pass(absl::Duration time) {
    now_.wall += time;
    now_.monotonic += time;
  }

  EvidenceLog log_;
  Instant now_{absl::FromUnixSeconds(1795157000), absl::Seconds(1000)};
};

TEST_F(EvidenceLogTest, AShutdownKnowsWhatStoodBeforeIt) {
  log_.SawPowerdown(now_, now_);
  log_.SawStop(now_);
  Pass(absl::Seconds(7));
  SawShutdown();
  EXPECT_EQ(log_.facts().shutdown->powerdown_age, absl::Seconds(7));
  EXPECT_TRUE(log_.facts().shutdown->while_paused);
  EXPECT_TRUE(log_.decided());
}

TEST_F(EvidenceLogTest, AResetClearsAllAndSaysWhat) {
  log_.SawPowerdown(now_, now_);
  log_.SawPanic({.name = "GUEST_PANICKED", .data = {{"action", "pause"}}}, now_);
  log_.SawStop(now_);
  log_.SawReset(now_);
  EXPECT_FALSE(log_.decided());
  EXPECT_TRUE(log_.paused()) << "QEMU still has the guest's processors stopped";
  EXPECT_THAT(Timeline(),
              ElementsAre("RESET (clears: POWERDOWN, GUEST_PANICKED action=pause, STOP)"));
}

TEST_F(EvidenceLogTest, AResetWithoutEvidenceLeavesNoTrace) {
  log_.SawReset(now_);
  EXPECT_THAT(Timeline(), IsEmpty());
}

TEST_F(EvidenceLogTest, APauseThatIsOverLeavesNoTrace) {
  log_.SawStop(now_);
  log_.SawRunState("running", "RESUME", now_);
  EXPECT_FALSE(log_.paused());
  EXPECT_THAT(Timeline(), IsEmpty());
}

TEST_F(EvidenceLogTest, AResumeClearsAShutdownAndNoPowerdown) {
  log_.SawPowerdown(now_, now_);
  SawShutdown();
  log_.SawStop(now_);
  log_.SawRunState("running", "RESUME", now_);
  EXPECT_FALSE(log_.decided());
  EXPECT_THAT(Timeline(), ElementsAre("POWERDOWN", "RESUME (clears: SHUTDOWN)",
                                      "RESUME, perhaps from a snapshot of before"));
  SawShutdown();
  EXPECT_TRUE(log_.facts().shutdown->powerdown_age.has_value());
}

// Whatever its words are.
TEST_F(EvidenceLogTest, AnEntryIsClearedByWhatItIsAbout) {
  log_.Saw("SHUTDOWN of another kind", now_);
  log_.Saw("a word about the pause", now_, EvidenceId::kStop);
  log_.SawRunState("running", "RESUME", now_);
  EXPECT_THAT(Timeline(), ElementsAre("SHUTDOWN of another kind"));
}

TEST_F(EvidenceLogTest, ARunStateBeforeTheVmRanLeavesNoTraceOfItself) {
  log_.SawRunState("prelaunch", "query-status prelaunch", now_);
  EXPECT_THAT(Timeline(), ElementsAre("query-status prelaunch"));
  EXPECT_TRUE(log_.facts().never_ran);
  EXPECT_FALSE(log_.facts().incoming);
  log_.SawReset(now_);
  EXPECT_TRUE(log_.facts().never_ran) << "it may be reset before it runs";
  log_.SawRunState("running", "RESUME", now_);
  EXPECT_FALSE(log_.facts().never_ran);
  EXPECT_THAT(Timeline(), IsEmpty());
}

TEST_F(EvidenceLogTest, AResumeLeavesAPanicInDoubt) {
  log_.SawPanic({.name = "GUEST_CRASHLOADED"}, now_);
  log_.SawRunState("running", "query-status running", now_);
  EXPECT_FALSE(log_.facts().panic_doubted) << "it was not paused";
  log_.SawStop(now_);
  log_.SawRunState("running", "RESUME", now_);
  EXPECT_TRUE(log_.facts().guest_panicked);
  EXPECT_TRUE(log_.facts().panic_doubted);
  EXPECT_FALSE(log_.decided());
  EXPECT_THAT(Timeline(),
              ElementsAre("GUEST_CRASHLOADED", "RESUME, perhaps from a snapshot of before"));
  log_.SawReset(now_);
  EXPECT_FALSE(log_.facts().panic_doubted);
}

TEST_F(EvidenceLogTest, TheTimelineAndItsEntriesAreBounded) {
  for (int i = 0; i < 100; ++i) log_.Saw(absl::StrCat(i, std::string(10'000, 'x')), now_);
  EXPECT_EQ(log_.timeline().size(), EvidenceLog::kMaxEntries);
  EXPECT_THAT(log_.timeline().back().what, HasSubstr("99xx"));
  EXPECT_EQ(log_.timeline().back().what.size(), EvidenceLog::kMaxEntryBytes + 3);
}

TEST_F(EvidenceLogTest, ARepetitionRenewsTheLastEntry) {
  log_.SawPowerdown(now_, now_);
  Pass(absl::Seconds(1));
  log_.SawPowerdown(now_, now_);
  ASSERT_THAT(Timeline(), ElementsAre("POWERDOWN"));
  EXPECT_EQ(log_.timeline().front().time, now_.wall);
}

}  // namespace
}  // namespace vmeventd
