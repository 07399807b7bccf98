// The wait for QEMU's exit.

#include "watcher/session/exit_wait.h"

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

constexpr Instant InstantAt(int64_t seconds) { return {absl::UnixEpoch(), absl::Seconds(seconds)}; }

TEST(ExitWaitTest, AnUnexpectedExitIsNeverLate) {
  ExitWait wait;
  EXPECT_FALSE(wait.IsLate(absl::Hours(1)));
  EXPECT_EQ(wait.ReportAt(), absl::InfiniteDuration());
  EXPECT_EQ(wait.DownAt(), absl::InfiniteDuration());
}

TEST(ExitWaitTest, ALateExitIsReportedAtEachDoublingOfItsDuration) {
  ExitWait wait;
  wait.Begin(InstantAt(100));
  EXPECT_FALSE(wait.IsLate(absl::Seconds(109)));
  EXPECT_TRUE(wait.IsLate(absl::Seconds(110)));
  EXPECT_EQ(wait.TakeReport(absl::Seconds(110)), absl::Seconds(10));
  EXPECT_EQ(wait.ReportAt(), absl::Seconds(120));
  EXPECT_EQ(wait.TakeReport(absl::Seconds(145)), absl::Seconds(45));
  EXPECT_EQ(wait.ReportAt(), absl::Seconds(180));
}

TEST(ExitWaitTest, ASecondBeginDoesNotMoveTheDeadline) {
  ExitWait wait;
  wait.Begin(InstantAt(100));
  wait.Begin(InstantAt(105));
  EXPECT_EQ(wait.DownAt(), absl::Seconds(100) + ExitWait::kDownGrace);
  wait.TakeReport(absl::Seconds(130));
  wait.Forget();
  EXPECT_FALSE(wait.expected());
  wait.Begin(InstantAt(200));
  EXPECT_EQ(wait.ReportAt(), absl::Seconds(200) + ExitWait::kFirstReport);
}

}  // namespace
}  // namespace vmeventd
