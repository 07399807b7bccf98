#include <gtest/gtest.h>

#include <future>

#include "server/host/watchdog.h"

namespace vmeventd {
namespace {

TEST(StopDeadline, NamesTheStepThatHangsAndItsExitCode) {
  std::promise<StopDeadline::Step> gave_up;
  StopDeadline deadline(absl::Milliseconds(1), {"the journal's disk does not answer"},
                        [&](const StopDeadline::Step& step) { gave_up.set_value(step); });
  const StopDeadline::Step hangs = gave_up.get_future().get();
  EXPECT_EQ(hangs.what, "the journal's disk does not answer");
  EXPECT_EQ(hangs.exit_code, 1);
}

TEST(StopDeadline, AStopInTimeIsNotEnded) {
  bool gave_up = false;
  {
    StopDeadline deadline(absl::Hours(1), {"the watcher hangs"},
                          [&](const StopDeadline::Step&) { gave_up = true; });
    deadline.Enter({"a client holds its connection up", 0});
  }
  EXPECT_FALSE(gave_up);
}

}  // namespace
}  // namespace vmeventd
