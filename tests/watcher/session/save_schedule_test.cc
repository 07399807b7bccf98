// When a changed run is saved.

#include "watcher/session/save_schedule.h"

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(SaveScheduleTest, AFloodOfChangesIsSavedALittleLater) {
  SaveSchedule schedule;
  const absl::Duration now = absl::Seconds(1000);
  int saved = 0;
  while (schedule.Admit(now)) ++saved;
  EXPECT_EQ(saved, SaveSchedule::kRate.burst);
  EXPECT_EQ(schedule.DueAt(), now + SaveSchedule::kDelay);
  EXPECT_FALSE(schedule.Admit(now + absl::Milliseconds(50)));
  EXPECT_EQ(schedule.DueAt(), now + SaveSchedule::kDelay) << "the first of them waits no longer";
  EXPECT_TRUE(schedule.Admit(now + absl::Milliseconds(100)));
}

TEST(SaveScheduleTest, ASavedStateIsNotDue) {
  SaveSchedule schedule;
  while (schedule.Admit(absl::ZeroDuration())) {
  }
  EXPECT_TRUE(schedule.is_due());
  schedule.Record("a");
  EXPECT_FALSE(schedule.is_due());
  EXPECT_EQ(schedule.DueAt(), absl::InfiniteDuration());
}

TEST(SaveScheduleTest, OnlyADifferentTextIsAChange) {
  SaveSchedule schedule;
  EXPECT_TRUE(schedule.Record("a"));
  EXPECT_FALSE(schedule.Record("a"));
  EXPECT_TRUE(schedule.Record("b"));
  EXPECT_TRUE(schedule.Record("a"));
}

}  // namespace
}  // namespace vmeventd
