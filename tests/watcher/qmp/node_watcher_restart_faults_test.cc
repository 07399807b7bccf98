#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/problem_texts.h"
#include "tests/watcher/qmp/node_watcher_fixture.h"

namespace vmeventd {
namespace {

using testing::Contains;
using testing::HasSubstr;

using RestartFaultsTest = RestartTest;

TEST_F(RestartFaultsTest, AFullDescriptorTableEndsNoRun) {
  FakeQemu lives;
  FakeQemu ends;
  const int monitor = lives.AddMonitor(Socket("vm1"));
  ends.AddMonitor(Socket("vm2"));
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  options_.saved_runs = KeptTexts();
  StartWithManualClock();
  {
    const FullDescriptorTable full;
    Turn();
    EXPECT_TRUE(HasProblem("vm1", "LimitNOFILE"));
    EXPECT_TRUE(HasProblem("vm2", "LimitNOFILE"));
    EXPECT_TRUE(watcher_->first_scan_done());
    EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
    ends.Kill(SIGKILL);
  }
  ASSERT_TRUE(UntilInTime([&] { return sink_.Count(EventType::kStopped) == 1; }));
  EXPECT_EQ(sink_.Latest("vm2")->state, VmState::kStopped);
  ASSERT_TRUE(UntilInTime([&] { return Handshakes(lives, monitor) == 2; }));
  ASSERT_TRUE(UntilProblem("vm1", ""));
  lives.Kill(SIGKILL);
  ASSERT_TRUE(UntilCount(EventType::kStopped, 2));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 2);
}

TEST_F(RestartFaultsTest, BeyondTheDescriptorLimitARunWaitsForItsProcess) {
  FakeQemu first;
  FakeQemu second;
  first.AddMonitor(Socket("vm1"));
  second.AddMonitor(Socket("vm2"));
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  Die();
  options_.max_vm_descriptors = 1;
  RestartUntilScanned();
  EXPECT_TRUE(HasProblem("vm1", "LimitNOFILE") || HasProblem("vm2", "LimitNOFILE"));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  first.Kill(SIGKILL);
  ASSERT_TRUE(UntilState("vm1", VmState::kStopped));
  second.Kill(SIGKILL);
  ASSERT_TRUE(UntilState("vm2", VmState::kStopped));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 2);
}

TEST_F(RestartFaultsTest, PublishRunsAgainPublishesEachOpenRunOnce) {
  FakeMonitor behavior{.uuid = "550e8400-e29b-41d4-a716-446655440000"};
  FakeQemu second;
  qemu_.AddMonitor(Socket("vm1"), behavior);
  second.AddMonitor(Socket("vm2"), behavior);
  Start();
  ASSERT_TRUE(UntilProblem("vm1", "its UUID"));
  ASSERT_TRUE(UntilProblem("vm2", "its UUID"));
  ASSERT_TRUE(UntilAgentsKnown());  // nothing else is published then
  for (const bool restarted : {false, true}) {
    if (restarted) Restart();
    const auto kept = Kept();
    const size_t before = sink_.entries().size();
    watcher_->PublishRunsAgain();
    Turn();
    std::map<std::string, std::string> published;
    for (size_t i = before; i < sink_.entries().size(); ++i) {
      const VmUpdate& update = sink_.entries()[i].update;
      if (!update.saved_run.has_value()) continue;
      EXPECT_FALSE(update.event.has_value());
      EXPECT_TRUE(published.emplace(update.status->ref.run_id, *update.saved_run).second);
      EXPECT_THAT(ProblemTexts(update.status->problems), Contains(HasSubstr("its UUID")));
    }
    EXPECT_EQ(published, kept);
    if (!restarted) {
      const size_t after = sink_.entries().size();
      Turn();
      EXPECT_EQ(sink_.entries().size(), after);
    }
  }
}

}  // namespace
}  // namespace vmeventd
