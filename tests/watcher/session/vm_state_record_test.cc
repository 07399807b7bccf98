// The state of a VM, as it is and as it was published.

#include "watcher/session/vm_state_record.h"

#include "gtest/gtest.h"
#include "vmeventd/contract/enums.h"

namespace vmeventd {
namespace {

constexpr absl::Time SecondAt(int64_t seconds) { return absl::FromUnixSeconds(seconds); }

TEST(VmStateRecordTest, AStateHasTheTimeAtWhichItBegan) {
  VmStateRecord vm;
  vm.Set(VmState::kRunning, SecondAt(1));
  vm.Set(VmState::kRunning, SecondAt(2));
  EXPECT_EQ(vm.state_time, SecondAt(1));
  vm.Set(VmState::kPaused, SecondAt(3));
  EXPECT_EQ(vm.state_time, SecondAt(3));
}

TEST(VmStateRecordTest, OnlyAPausedVmHasAReasonForItsPause) {
  VmStateRecord vm;
  vm.Set(VmState::kRunning, SecondAt(1));
  vm.SetPauseReason("paused");
  EXPECT_EQ(vm.pause_reason, "");
  vm.Set(VmState::kPaused, SecondAt(2));
  vm.SetPauseReason("io-error");
  EXPECT_EQ(vm.pause_reason, "io-error");
  vm.Set(VmState::kRunning, SecondAt(3));
  EXPECT_EQ(vm.pause_reason, "");
}

TEST(VmStateRecordTest, TheReasonOfAPauseIsOneShortLine) {
  VmStateRecord vm;
  vm.Set(VmState::kPaused, SecondAt(1));
  vm.SetPauseReason("a\nb" + std::string(100, 'x'));
  EXPECT_EQ(vm.pause_reason.find('\n'), std::string::npos);
  EXPECT_EQ(vm.pause_reason.size(), 64u);
}

TEST(VmStateRecordTest, AReasonThatChangesAfterThePauseWasPublishedIsAChange) {
  VmStateRecord vm;
  vm.Set(VmState::kPaused, SecondAt(1));
  vm.SetPauseReason("paused");
  EXPECT_FALSE(vm.TakePauseReasonChange()) << "the pause itself is not published yet";
  vm.MarkPublished(VmState::kPaused, SecondAt(1));
  vm.SetPauseReason("debug");
  EXPECT_TRUE(vm.TakePauseReasonChange());
  EXPECT_FALSE(vm.TakePauseReasonChange());
  vm.SetPauseReason("debug");
  EXPECT_FALSE(vm.TakePauseReasonChange());
  vm.SetPauseReason("io-error");
  vm.MarkPublished(VmState::kPaused, SecondAt(2));
  EXPECT_FALSE(vm.TakePauseReasonChange()) << "the event had it";
}

TEST(VmStateRecordTest, ALostVmIsUnreachableAndKeepsItsTimeIfItsStateIsUnchanged) {
  VmStateRecord vm;
  vm.Set(VmState::kRunning, SecondAt(1));
  vm.Lose(SecondAt(5));
  EXPECT_EQ(vm.state, VmState::kUnreachable);
  EXPECT_EQ(vm.state_before_loss, VmState::kRunning);
  vm.Set(VmState::kRunning, SecondAt(9));
  vm.Regain();
  EXPECT_EQ(vm.state_time, SecondAt(1));
  vm.Lose(SecondAt(10));
  vm.Set(VmState::kPaused, SecondAt(11));
  vm.Regain();
  EXPECT_EQ(vm.state_time, SecondAt(11));
}

TEST(VmStateRecordTest, ALostGuestThatIsDownStaysDown) {
  VmStateRecord vm;
  vm.Set(VmState::kGuestDown, SecondAt(1));
  vm.Lose(SecondAt(5));
  EXPECT_EQ(vm.state, VmState::kGuestDown);
}

TEST(VmStateRecordTest, AHiddenVmIsUnreachableUnlessItIsDown) {
  VmStateRecord vm;
  vm.Set(VmState::kRunning, SecondAt(1));
  EXPECT_EQ(vm.Shown(/*hidden=*/false), VmState::kRunning);
  EXPECT_EQ(vm.Shown(/*hidden=*/true), VmState::kUnreachable);
  for (const VmState down : {VmState::kGuestDown, VmState::kStopped}) {
    vm.Set(down, SecondAt(2));
    EXPECT_EQ(vm.Shown(/*hidden=*/true), down);
  }
}

TEST(VmStateRecordTest, AHiddenStateIsPublishedWithTheTimeAtWhichItBegan) {
  VmStateRecord vm;
  vm.Set(VmState::kRunning, SecondAt(1));
  vm.MarkPublished(VmState::kRunning, SecondAt(3));
  EXPECT_EQ(vm.published_state_time, SecondAt(1));
  vm.MarkPublished(VmState::kUnreachable, SecondAt(5));
  EXPECT_EQ(vm.published_state_time, SecondAt(5));
  vm.MarkPublished(VmState::kUnreachable, SecondAt(7));
  EXPECT_EQ(vm.published_state_time, SecondAt(5));
  EXPECT_EQ(vm.published_state, VmState::kUnreachable);
}

}  // namespace
}  // namespace vmeventd
