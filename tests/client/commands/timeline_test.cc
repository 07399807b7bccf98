#include "client/commands/timeline.h"

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "client/output/terminal_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"

namespace vmeventd::client {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

constexpr int64_t kNoon = 1782907200;

class TimelineTest : public testing::Test {
 protected:
  void Add(int minute, v1::EventType type, v1::VmState state, const std::string& run = "run-1") {
    events_.push_back({MakeEvent(events_.size() + 1)});
    v1::Event* event = &events_.back().event;
    event->mutable_observe_time()->set_seconds(kNoon + 60 * minute);
    event->mutable_observe_time()->set_nanos(0);
    event->mutable_vm()->set_run_id(run);
    event->set_type(type);
    event->set_state(state);
    if (type != v1::EVENT_TYPE_STOPPED) return;
    event->mutable_shutdown()->set_class_(v1::SHUTDOWN_CLASS_USER);
    event->mutable_shutdown()->set_cause(v1::SHUTDOWN_CAUSE_GUEST_POWEROFF);
  }
  std::vector<TimelineRun> Runs(int now_minute) const {
    return RunsOf(events_, absl::FromUnixSeconds(kNoon + 60 * now_minute));
  }

  NodeEvents events_;
};

TEST_F(TimelineTest, ARunIsItsStates) {
  Add(0, v1::EVENT_TYPE_STARTED, v1::VM_STATE_RUNNING);
  Add(1, v1::EVENT_TYPE_RESET, v1::VM_STATE_RUNNING);
  Add(30, v1::EVENT_TYPE_PAUSED, v1::VM_STATE_PAUSED);
  Add(40, v1::EVENT_TYPE_STOPPED, v1::VM_STATE_STOPPED);
  const auto runs = Runs(99);
  ASSERT_THAT(runs, SizeIs(1));
  EXPECT_TRUE(runs[0].ended);
  ASSERT_THAT(runs[0].spans, SizeIs(2));
  EXPECT_EQ(runs[0].spans[0].to - runs[0].spans[0].from, absl::Minutes(30));
  EXPECT_EQ(runs[0].spans[1].to - runs[0].spans[1].from, absl::Minutes(10));
  EXPECT_EQ(runs[0].spans[1].why, "PAUSED");
}

TEST_F(TimelineTest, ARunThatHasNotEndedGoesOn) {
  Add(0, v1::EVENT_TYPE_STARTED, v1::VM_STATE_UNSPECIFIED);
  const auto runs = Runs(7);
  ASSERT_THAT(runs, SizeIs(1));
  EXPECT_FALSE(runs[0].ended);
  EXPECT_EQ(runs[0].spans[0].state, v1::VM_STATE_RUNNING) << "of a version without states";
  EXPECT_EQ(runs[0].spans[0].to - runs[0].spans[0].from, absl::Minutes(7));
}

TEST_F(TimelineTest, AnEndAloneIsARunToo) {
  Add(5, v1::EVENT_TYPE_STOPPED, v1::VM_STATE_STOPPED);
  const auto runs = Runs(7);
  ASSERT_THAT(runs, SizeIs(1));
  EXPECT_THAT(TimelineText("web1", runs, {}), HasSubstr("for 0ms, USER"));
}

TEST_F(TimelineTest, TheBarsHaveOneScale) {
  Add(0, v1::EVENT_TYPE_STARTED, v1::VM_STATE_RUNNING);
  Add(10, v1::EVENT_TYPE_STOPPED, v1::VM_STATE_STOPPED);
  Add(10, v1::EVENT_TYPE_STARTED, v1::VM_STATE_PAUSED, "run-2");
  EXPECT_EQ(TimelineText("web1", Runs(20), {.width = 22}),
            "web1: 2 runs in 20m\n"
            "\n"
            "2026-07-01 12:00:00.000  for 10m, USER: guest poweroff\n"
            "  \u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\n"
            "  12:00:00.000  RUNNING      10m       STARTED\n"
            "\n"
            "2026-07-01 12:10:00.000  for 10m, goes on\n"
            "            \u2592\u2592\u2592\u2592\u2592\u2592\u2592\u2592\u2592\u2592\n"
            "  12:10:00.000  PAUSED       10m       STARTED\n"
            "\n"
            "\u2588 RUNNING  \u2592 PAUSED\n");
}

TEST_F(TimelineTest, AChangeOfDayHasItsDate) {
  Add(0, v1::EVENT_TYPE_STARTED, v1::VM_STATE_RUNNING);
  Add(24 * 60, v1::EVENT_TYPE_PAUSED, v1::VM_STATE_PAUSED);
  Add(25 * 60, v1::EVENT_TYPE_RESUMED, v1::VM_STATE_RUNNING);
  EXPECT_THAT(TimelineText("web1", Runs(26 * 60), {}),
              HasSubstr("  12:00:00.000  RUNNING      1d        STARTED\n"
                        "  2026-07-02\n"
                        "  12:00:00.000  PAUSED       1h        PAUSED\n"
                        "  13:00:00.000  RUNNING      1h        RESUMED\n"));
}

TEST_F(TimelineTest, FitsTheWidth) {
  Add(0, v1::EVENT_TYPE_STARTED, v1::VM_STATE_RUNNING);
  Add(500, v1::EVENT_TYPE_STOPPED, v1::VM_STATE_STOPPED);
  Add(500, v1::EVENT_TYPE_STARTED, v1::VM_STATE_RUNNING, "run-2");
  const std::string text = TimelineText("web1", Runs(500), {});
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    EXPECT_LE(DisplayWidth(line), 81U) << line;
  }
}

TEST_F(TimelineTest, AClockThatWasSetBackDoesNoHarm) {
  Add(10, v1::EVENT_TYPE_STARTED, v1::VM_STATE_RUNNING);
  Add(0, v1::EVENT_TYPE_PAUSED, v1::VM_STATE_PAUSED);
  const auto runs = Runs(5);
  EXPECT_EQ(runs[0].spans[0].to, runs[0].spans[0].from);
  EXPECT_THAT(TimelineText("web1", runs, {}), HasSubstr("1 run"));
}

}  // namespace
}  // namespace vmeventd::client
