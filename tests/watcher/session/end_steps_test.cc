// The steps that precede STOPPED.

#include "watcher/session/end_steps.h"

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(EndStepsTest, AnEndWaitsForEachAnswer) {
  EndSteps steps;
  EXPECT_FALSE(steps.waits());
  steps.RequestFile();
  EXPECT_TRUE(steps.waits());
  EXPECT_TRUE(steps.OnFileDone(/*failed=*/false));
  EXPECT_FALSE(steps.waits());
  EXPECT_FALSE(steps.file_due());
  steps.OnGone();
  steps.RequestWords();
  EXPECT_TRUE(steps.waits());
  EXPECT_TRUE(steps.OnWordsRead({}));
  EXPECT_FALSE(steps.waits());
  EXPECT_FALSE(steps.words_due());
}

TEST(EndStepsTest, AFileThatFailsIsTriedAgainOnceTheProcessIsGone) {
  EndSteps steps;
  steps.RequestFile();
  EXPECT_TRUE(steps.OnFileDone(/*failed=*/true));
  EXPECT_TRUE(steps.file_due());
  steps.OnGone();
  steps.RequestFile();
  EXPECT_TRUE(steps.OnFileDone(/*failed=*/true));
  EXPECT_FALSE(steps.file_due());
}

TEST(EndStepsTest, TheShutdownFileIsDecidedAgainForAVmThatContinues) {
  EndSteps steps;
  steps.OnVmRevived();
  EXPECT_TRUE(steps.file_due());
  steps.RequestFile();
  steps.OnVmRevived();
  EXPECT_TRUE(steps.file_due());
  EXPECT_FALSE(steps.OnFileDone(/*failed=*/false)) << "it was on its way";
  steps.RequestFile();
  steps.OnFileDone(/*failed=*/false);
  steps.OnVmRevived();
  EXPECT_TRUE(steps.file_due());
}

TEST(EndStepsTest, AnAnswerThatNoStepWaitsForIsIgnored) {
  EndSteps steps;
  EXPECT_FALSE(steps.OnFileDone(/*failed=*/false));
  EXPECT_TRUE(steps.file_due());
  steps.OnGone();
  v1::ShutdownDetail read;
  read.set_core("/var/core");
  EXPECT_FALSE(steps.OnWordsRead(read));
  EXPECT_EQ(steps.facts()->core(), "");
}

TEST(EndStepsTest, LastWordsAreAddedToTheFactsOfTheEnd) {
  EndSteps steps;
  EXPECT_EQ(steps.facts(), nullptr);
  steps.OnGone();
  EXPECT_TRUE(steps.gone());
  steps.facts()->mutable_numbers()->mutable_ran_for()->set_seconds(7);
  steps.RequestWords();
  v1::ShutdownDetail read;
  read.set_core("/var/core");
  EXPECT_TRUE(steps.OnWordsRead(read));
  EXPECT_EQ(steps.facts()->core(), "/var/core");
  EXPECT_EQ(steps.facts()->numbers().ran_for().seconds(), 7);
}

}  // namespace
}  // namespace vmeventd
