// What a guest agent leaves open of a shutdown that looks like the guest's own.

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/session/running_vm.h"
#include "tests/watcher/session/story_suite.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;

GuestAgentInfo Port(bool open) {
  return {.present = true, .open = open, .reported = true, .port = "ch0", .other_ports = {"spice"}};
}

using VmSessionAgentTest = RunningVmTest;

TEST_F(VmSessionAgentTest, TheAgentIsQueriedAtEachAttach) {
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

STORY_SUITE(AgentStoryTest);

const StoryCase kAgents[] = {
    {"AConnectedOneIsACaveat", "agent open; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_CONNECTED; seen guest agent connected"},
    {"APortThatNobodyOpensHasNoAgent", "agent closed; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; unseen agent"},
    // A guest that shuts down in order ends its agent first.
    {"AnAgentThatLeftInTheWindowCounts",
     "agent open; VSERPORT_CHANGE id=ch0 open=false; wait 10m; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_CONNECTED; seen guest agent disconnected"},
    {"AnAgentThatLeftBeforeTheWindowDoesNotCount",
     "agent open; VSERPORT_CHANGE id=ch0 open=false; wait 600001ms; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; unseen agent"},
    {"AResetForgetsTheOneBefore",
     "agent open; VSERPORT_CHANGE id=ch0 open=false; RESET guest=true; SHUTDOWN guest-shutdown; "
     "end",
     "USER GUEST_POWEROFF; unseen agent"},
    {"APortThatIsNotReportedMayHaveOne", "agent unreported; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_POSSIBLE; seen QEMU does not report"},
    // QEMU is asked one question after the other, and a guest may be faster than the answers.
    {"AnAgentThatIsNotKnownYetMayBeConnected",
     "new; agent silent; ready; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_POSSIBLE; seen did not know yet"},
    {"AnAgentThatIsNotKnownYetAfterARestartMayBeConnected",
     "new; agent silent; ready; attach; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_POSSIBLE POWERDOWN_UNSEEN; seen did not know yet"},
    {"TheLackOfAnAgentIsKnownAfterARestart", "agent silent; attach; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat POWERDOWN_UNSEEN; unseen agent"},
    {"AnAgentIsSavedWithTheShutdown", "agent open; SHUTDOWN guest-shutdown; restart; gone",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_CONNECTED"},
    {"AnAgentThatLeftInARestartMayHaveBeenAsked",
     "agent open; restart; ready; agent closed; SHUTDOWN guest-shutdown; gone",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_CONNECTED POWERDOWN_UNSEEN"},
    {"AnIntentSettlesIt", "agent open; declare; SHUTDOWN guest-shutdown; end",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"TheEventsOfTheAgentsPortAreFollowed",
     "agent closed; VSERPORT_CHANGE id=spice open=true; VSERPORT_CHANGE open=true; "
     "VSERPORT_CHANGE id=ch0 open=yes; VSERPORT_CHANGE id=ch0 open=true; events STARTED; SHUTDOWN "
     "guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_CONNECTED; seen guest agent connected"},
    {"ASignalHasNoCaveat", "agent open; SHUTDOWN host-signal; end", "ADMIN HOST_SIGNAL"},
    {"APanicHasNoCaveat", "agent open; SHUTDOWN guest-panic; end", "CRASH GUEST_PANIC"},
    {"APressHasNoCaveat", "agent open; POWERDOWN; SHUTDOWN guest-shutdown; end",
     "ADMIN HOST_POWERDOWN"},
    // The agent can also carry out a reboot and a suspend to disk.
    {"ARebootHasTheCaveat", "agent open; SHUTDOWN guest-reset; end",
     "USER GUEST_REBOOT_EXIT; caveat GUEST_AGENT_CONNECTED"},
    {"AHibernationHasTheCaveat", "agent open; SUSPEND_DISK; SHUTDOWN guest-shutdown; end",
     "USER GUEST_HIBERNATE; caveat GUEST_AGENT_CONNECTED"},
};
STORIES(AgentStoryTest, Agents, kAgents);

}  // namespace
}  // namespace vmeventd
