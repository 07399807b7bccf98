#include "watcher/session/command_pacer.h"

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kQuiet = CommandPacer::kQuietTime;
constexpr absl::Duration kLater = absl::Hours(1);
constexpr absl::Duration kNever = absl::InfiniteDuration();

TEST(CommandPacerTest, AReplyWithoutACommandIsIgnored) {
  CommandPacer pacer;
  EXPECT_FALSE(pacer.OnReply(kLater));
  EXPECT_LE(pacer.NextAt(), absl::ZeroDuration());
}

TEST(CommandPacerTest, TheQuietTimeFollowsEventsThatAnotherClientMayHaveCaused) {
  for (const char* event : {"STOP", "MIGRATION", "VSERPORT_CHANGE"}) {
    CommandPacer pacer;
    pacer.OnEvent(event, kLater);
    EXPECT_EQ(pacer.NextAt(), kLater + kQuiet) << event;
  }
}

TEST(CommandPacerTest, AnEventDoesNotEndTheWaitForAReply) {
  CommandPacer pacer;
  pacer.OnSent();
  pacer.OnEvent("STOP", kLater);
  EXPECT_EQ(pacer.NextAt(), kNever);
}

TEST(CommandPacerTest, NothingIsAskedAfterAShutdown) {
  CommandPacer pacer;
  pacer.OnSent();
  pacer.OnEvent("SHUTDOWN", kLater);
  EXPECT_TRUE(pacer.ending());
  EXPECT_TRUE(pacer.OnReply(kLater));
  EXPECT_EQ(pacer.NextAt(), kNever);
  pacer.OnEvent("STOP", kLater);  // -no-shutdown
  EXPECT_EQ(pacer.NextAt(), kNever);
}

TEST(CommandPacerTest, CommandsResumeOnceAVmContinuesAfterItsShutdown) {
  for (const char* event : {"RESET", "RESUME"}) {
    CommandPacer pacer;
    pacer.OnEvent("SHUTDOWN", kLater);
    pacer.OnEvent(event, kLater);
    EXPECT_FALSE(pacer.ending());
    EXPECT_LT(pacer.NextAt(), kNever) << event;
  }
}

TEST(CommandPacerTest, EventsOfOtherTypesDelayNoCommand) {
  CommandPacer pacer;
  pacer.OnEvent("BLOCK_IO_ERROR", kLater);
  EXPECT_LE(pacer.NextAt(), absl::ZeroDuration());
}

}  // namespace
}  // namespace vmeventd
