#include "watcher/host/host_watch.h"

#include <memory>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/manual_clock.h"
#include "tests/watcher/host/fake_host_shutdown.h"
#include "watcher/host/host_shutdown_api.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class HostWatchTest : public testing::Test {
 protected:
  HostWatchTest() {
    watch_.OnChange(
        [this](const HostShutdownState& state) { reported_.push_back(state.shutting_down); });
  }
  void Turn() { loop_->RunOnce(absl::ZeroDuration()); }
  static HostShutdownState StateWith(bool shutting_down) {
    return {.known = true, .shutting_down = shutting_down, .by = "systemd-logind"};
  }

  ManualClock clock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::shared_ptr<FakeHostShutdown> source_ = std::make_shared<FakeHostShutdown>();
  HostWatch watch_{loop_.get(), source_, ""};
  std::vector<bool> reported_;
};

TEST_F(HostWatchTest, TheFirstAnswerAndEachChangeAreReported) {
  EXPECT_FALSE(watch_.settled());
  source_->SetState(StateWith(false));
  Turn();
  EXPECT_TRUE(watch_.settled());
  source_->SetState(StateWith(false));
  Turn();
  source_->SetState(StateWith(true));
  Turn();
  source_->SetState(StateWith(false));
  Turn();
  EXPECT_THAT(reported_, ElementsAre(false, true, false));
}

TEST_F(HostWatchTest, DrainHandlesReportsWithoutATurnOfTheLoop) {
  source_->SetState(StateWith(true), /*silent=*/true);
  watch_.Drain();
  EXPECT_THAT(reported_, ElementsAre(true));
  EXPECT_TRUE(watch_.state().shutting_down);
}

TEST_F(HostWatchTest, WithoutABusNothingIsReportedAndTheStartContinues) {
  source_->SetState({.known = true, .problem = "no system bus"});
  Turn();
  EXPECT_TRUE(watch_.settled());
  EXPECT_THAT(reported_, IsEmpty());
  EXPECT_EQ(watch_.state().problem, "no system bus");
}

TEST_F(HostWatchTest, TheStartWaitsABoundedTimeForTheFirstAnswer) {
  clock_.Advance(HostWatch::kFirstAnswer - absl::Milliseconds(1));
  Turn();
  EXPECT_FALSE(watch_.settled());
  clock_.Advance(absl::Milliseconds(1));
  Turn();
  EXPECT_TRUE(watch_.settled());
  source_->SetState(StateWith(true));
  Turn();
  EXPECT_THAT(reported_, ElementsAre(true));
}

TEST_F(HostWatchTest, AShutdownContinuesIfTheBusIsGone) {
  source_->SetState(StateWith(true));
  Turn();
  HostShutdownState gone = StateWith(true);
  gone.problem = "lost the connection to the system bus";
  source_->SetState(gone);
  Turn();
  EXPECT_THAT(reported_, ElementsAre(true));
  EXPECT_TRUE(watch_.state().shutting_down);
}

TEST(HostWatchWithoutASourceTest, DoesNotDelayTheStart) {
  const ManualClock clock;
  const auto loop = EventLoop::Create(&clock).value();
  HostWatch watch(loop.get(), nullptr, "nobody wanted it");
  watch.Drain();
  EXPECT_TRUE(watch.settled());
  EXPECT_EQ(watch.state().problem, "nobody wanted it");
}

}  // namespace
}  // namespace vmeventd
