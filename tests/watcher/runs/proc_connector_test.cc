#include "watcher/runs/proc_connector.h"

#include <csignal>
#include <memory>
#include <thread>

#include "gtest/gtest.h"
#include "tests/support/machine_probe.h"
#include "tests/support/test_util.h"
#include "tests/watcher/runs/child.h"

namespace vmeventd {
namespace {

class ProcConnectorTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNoProcConnector(); !why.empty()) GTEST_SKIP() << why;
    auto connector = ProcConnector::Create(loop_.get());
    ASSERT_TRUE(connector.ok()) << connector.status();
    connector_ = *std::move(connector);
  }
  std::optional<int> Learn(pid_t pid) {
    std::optional<int> status;
    StepUntil([&] { status = connector_->WaitStatusOf(pid); }, [&] { return status.has_value(); });
    return status;
  }

  SystemClock clock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::unique_ptr<ProcConnector> connector_;
};

TEST_F(ProcConnectorTest, TellsTheEndOfAProcessThatIsFollowed) {
  Child child(Sleep);
  connector_->Follow(child.pid());
  EXPECT_EQ(connector_->WaitStatusOf(child.pid()), std::nullopt);
  kill(child.pid(), SIGKILL);
  EXPECT_EQ(Learn(child.pid()), SIGKILL);
}

TEST_F(ProcConnectorTest, ForgetsWhatNobodyFollows) {
  Child first(Sleep);
  Child second(Sleep);
  connector_->Follow(first.pid());
  connector_->Follow(second.pid());
  connector_->Follow(second.pid());
  connector_->Unfollow(first.pid());
  connector_->Unfollow(second.pid());
  kill(first.pid(), SIGKILL);
  first.AwaitEnd();
  kill(second.pid(), SIGKILL);
  EXPECT_EQ(Learn(second.pid()), SIGKILL) << "one follows it still";
  EXPECT_EQ(connector_->WaitStatusOf(first.pid()), std::nullopt);
}

TEST_F(ProcConnectorTest, WhatWaitsWhenANumberIsFollowedIsOfAnEarlierProcess) {
  Child earlier(Sleep);
  Child marker(Sleep);
  // The kernel reports an end a moment after it: wait until another listener has the report.
  const auto witness = ProcConnector::Create(loop_.get()).value();
  witness->Follow(earlier.pid());
  kill(earlier.pid(), SIGKILL);
  ASSERT_TRUE(StepUntil([] {}, [&] { return witness->WaitStatusOf(earlier.pid()).has_value(); }));
  connector_->Follow(marker.pid());
  kill(marker.pid(), SIGKILL);
  ASSERT_TRUE(Learn(marker.pid()).has_value());
  // As if its number had been given to a new process.
  connector_->Follow(earlier.pid());
  EXPECT_EQ(connector_->WaitStatusOf(earlier.pid()), std::nullopt);
}

TEST_F(ProcConnectorTest, NeitherForksNorThreadsWakeTheLoop) {
  Child followed(Sleep);
  connector_->Follow(followed.pid());
  std::thread([] {}).join();
  kill(followed.pid(), SIGKILL);
  ASSERT_TRUE(Learn(followed.pid()).has_value());
  EXPECT_EQ(connector_->overflows(), 0u);
}

TEST_F(ProcConnectorTest, RefusesWhatIsNoMessage) {
  connector_->OnMessage("");
  connector_->OnMessage(std::string(35, 'x'));
  connector_->OnMessage(std::string(200, '\xff'));
}

TEST_F(ProcConnectorTest, NeedsARight) {
  connector_.reset();
  const AsNobody nobody;
  if (!nobody.possible()) GTEST_SKIP() << "needs root";
  const auto connector = ProcConnector::Create(loop_.get());
  // Since Linux 6.6 anybody may listen.
  EXPECT_TRUE(connector.ok() || !connector.status().message().empty());
}

}  // namespace
}  // namespace vmeventd
