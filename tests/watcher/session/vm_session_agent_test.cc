// What a guest agent leaves open of a shutdown that looks like the guest's own.

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/session/session_driver.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;

GuestAgentInfo Port(bool open) {
  return {.present = true, .open = open, .reported = true, .port = "ch0", .other_ports = {"spice"}};
}

using VmSessionAgentTest = RunningVmTest;

TEST_F(VmSessionAgentTest, IsAskedForAtEachAttach) {
  EXPECT_EQ(vm_.agent_queries, 1);
  vm_.Closed();
  vm_.Ready();
  EXPECT_EQ(vm_.agent_queries, 2);
}

TEST_F(VmSessionAgentTest, TheProbesReplyEndsTheAttach) {
  EXPECT_TRUE(vm_.Status().attached());
  EXPECT_TRUE(vm_.statuses.back().attached());
  vm_.agent_answer.reset();
  vm_.Closed();
  EXPECT_FALSE(vm_.Status().attached());
  vm_.Ready();
  EXPECT_FALSE(vm_.Status().attached());
  vm_.Agent({});
  EXPECT_TRUE(vm_.Status().attached());
  EXPECT_TRUE(vm_.statuses.back().attached());
}

TEST_F(VmSessionAgentTest, APortThatWasPluggedInLaterIsLookedUp) {
  vm_.Agent({});
  vm_.Event("VSERPORT_CHANGE", R"({"id": "ch9", "open": true})");
  EXPECT_EQ(vm_.agent_queries, 2);
  vm_.Agent({.present = true, .open = true, .reported = true, .port = "ch9"});
  vm_.EndBy("guest-shutdown");
  EXPECT_THAT(vm_.Stopped().caveats(), ElementsAre(v1::SHUTDOWN_CAVEAT_GUEST_AGENT_CONNECTED));
}

// A console sends the same event as often as its guest likes.
TEST_F(VmSessionAgentTest, AConsoleWithAnIdIsAskedAboutOnce) {
  vm_.Agent(Port(true));
  for (int i = 0; i < 10; ++i) {
    vm_.Event("VSERPORT_CHANGE", R"({"id": "console0", "open": true})");
    vm_.Agent(Port(true));
  }
  EXPECT_EQ(vm_.agent_queries, 2);
}

TEST_F(VmSessionAgentTest, AQemuWithTooManyPortsIsNotAskedAgain) {
  for (int i = 0; i < 1000; ++i) {
    vm_.Event("VSERPORT_CHANGE", absl::StrCat(R"({"open": true, "id": "p)", i, R"("})"));
  }
  EXPECT_EQ(vm_.agent_queries, 1 + static_cast<int>(GuestAgentProbe::kMaxPorts));
}

}  // namespace
}  // namespace vmeventd
