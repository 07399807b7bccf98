// The guest agent's channel, from QEMU's answers and events.

#include "watcher/session/guest_agent.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "vmeventd/contract/enums.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kAgentWindow = absl::Minutes(10);
constexpr auto kConnected = ShutdownCaveat::kGuestAgentConnected;
constexpr auto kPossible = ShutdownCaveat::kGuestAgentPossible;

Instant AgentTime(int second) {
  return {absl::UnixEpoch() + absl::Seconds(second), absl::Seconds(second)};
}

GuestAgentInfo Channel(bool open) {
  return {.present = true, .open = open, .reported = true, .port = "agent"};
}

TEST(GuestAgentTest, MayBeConnectedUntilQemuHasAnswered) {
  GuestAgent agent;
  EXPECT_EQ(agent.CaveatAt(absl::Seconds(1), kAgentWindow), kPossible);
  agent.Learn({}, AgentTime(1));
  EXPECT_EQ(agent.CaveatAt(absl::Seconds(1), kAgentWindow), std::nullopt);
}

TEST(GuestAgentTest, MayBeConnectedIfQemuReportsNoChange) {
  GuestAgent agent;
  agent.Learn({.present = true}, AgentTime(1));
  EXPECT_EQ(agent.CaveatAt(absl::Seconds(1), kAgentWindow), kPossible);
}

TEST(GuestAgentTest, AnAgentThatHasLeftIsACaveatWithinTheWindow) {
  GuestAgent agent;
  agent.Learn(Channel(true), AgentTime(1));
  EXPECT_EQ(agent.CaveatAt(absl::Hours(9), kAgentWindow), kConnected);
  EXPECT_FALSE(agent.SawPort("agent", false, AgentTime(100)));
  EXPECT_EQ(agent.CaveatAt(absl::Seconds(100) + kAgentWindow, kAgentWindow), kConnected);
  EXPECT_EQ(agent.CaveatAt(absl::Seconds(101) + kAgentWindow, kAgentWindow), std::nullopt);
}

TEST(GuestAgentTest, AResetForgetsAnAgentThatHasLeft) {
  GuestAgent agent;
  agent.Learn(Channel(true), AgentTime(1));
  agent.SawPort("agent", false, AgentTime(2));
  agent.SawReset();
  EXPECT_EQ(agent.CaveatAt(absl::Seconds(3), kAgentWindow), std::nullopt);
}

TEST(GuestAgentTest, AResetMakesAnUnreportedChannelUncertain) {
  GuestAgent agent;
  agent.Learn({.present = true, .open = true}, AgentTime(1));
  EXPECT_EQ(agent.CaveatAt(absl::Seconds(2), kAgentWindow), kConnected);
  agent.SawReset();
  EXPECT_EQ(agent.CaveatAt(absl::Seconds(2), kAgentWindow), kPossible);
}

TEST(GuestAgentTest, AResetLeavesAChannelAsItsEventsShowIt) {
  GuestAgent agent;
  agent.Learn(Channel(true), AgentTime(1));
  agent.SawReset();
  EXPECT_EQ(agent.CaveatAt(absl::Seconds(2), kAgentWindow), kConnected);
}

TEST(GuestAgentTest, EachFurtherPortIsAskedAboutOnceAndNotWithoutLimit) {
  GuestAgent agent;
  GuestAgentInfo info = Channel(true);
  info.other_ports = {"console"};
  agent.Learn(info, AgentTime(1));
  EXPECT_FALSE(agent.SawPort("console", true, AgentTime(2)));
  EXPECT_TRUE(agent.SawPort("plugged", true, AgentTime(2)));
  EXPECT_FALSE(agent.SawPort("plugged", false, AgentTime(2)));
  size_t asked = 1;
  for (int i = 0; i < 1000; ++i)
    asked += agent.SawPort(absl::StrCat(i), true, AgentTime(3)) ? 1 : 0;
  EXPECT_EQ(asked, GuestAgentProbe::kMaxPorts);
}

}  // namespace
}  // namespace vmeventd
