// The problems of a run.

#include "watcher/session/run_problems.h"

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using ProblemSubject = RunProblem::Subject;

TEST(RunProblemsTest, EachSubjectHasAtMostOneProblemAndTheListFollowsTheSubjects) {
  RunProblems problems;
  problems.Set(ProblemSubject::kExit, {ProblemCode::kExitLate, "late"});
  problems.Set(ProblemSubject::kMonitor, {ProblemCode::kNoGreeting, "held"});
  problems.Set(ProblemSubject::kExit, {ProblemCode::kExitLate, "later"});
  ASSERT_EQ(problems.List().size(), 2u);
  EXPECT_EQ(problems.List()[0].text, "held");
  EXPECT_EQ(problems.List()[1].text, "later");
  EXPECT_EQ(problems.Of(ProblemSubject::kExit).text, "later");
  problems.Set(ProblemSubject::kExit, {});
  EXPECT_TRUE(problems.Of(ProblemSubject::kExit).empty());
  EXPECT_EQ(problems.List().size(), 1u);
}

TEST(RunProblemsTest, APublishedListIsNoChange) {
  RunProblems problems;
  EXPECT_FALSE(problems.changed());
  problems.Set(ProblemSubject::kExit, {ProblemCode::kExitLate, "late"});
  EXPECT_TRUE(problems.changed());
  problems.MarkPublished();
  EXPECT_FALSE(problems.changed());
  problems.Set(ProblemSubject::kExit, {});
  EXPECT_TRUE(problems.changed());
}

TEST(RunProblemsTest, LeaveOnlyRemovesTheProblemsOfOtherSubjects) {
  RunProblems problems;
  problems.Set(ProblemSubject::kMonitor, {ProblemCode::kNoGreeting, "held"});
  problems.Set(ProblemSubject::kFile, {ProblemCode::kShutdownFile, "full"});
  problems.LeaveOnly(ProblemSubject::kFile);
  ASSERT_EQ(problems.List().size(), 1u);
  EXPECT_EQ(problems.List()[0].text, "full");
}

}  // namespace
}  // namespace vmeventd
