// What a guest agent leaves open of a shutdown that looks like the guest's own.

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/session/session_driver.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

GuestAgentInfo Port(bool open) {
  return {.present = true, .open = open, .reported = true, .port = "ch0", .other_ports = {"spice"}};
}

void ExpectUser(const SessionDriver& vm, bool connected) {
  ExpectVerdict(vm, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  if (connected) {
    EXPECT_THAT(vm.Stopped().caveats, ElementsAre(ShutdownCaveat::kGuestAgentConnected));
    EXPECT_THAT(EvidenceOf(vm.Stopped()), HasSubstr("guest agent connected"));
    EXPECT_THAT(vm.Last().message, HasSubstr("guest agent connected"));
  } else {
    EXPECT_THAT(vm.Stopped().caveats, IsEmpty());
    EXPECT_THAT(EvidenceOf(vm.Stopped()), Not(HasSubstr("agent")));
  }
}

using VmSessionAgentTest = RunningVmTest;

TEST_F(VmSessionAgentTest, IsAskedForAtEachAttach) {
  EXPECT_EQ(vm_.agent_queries, 1);
  vm_.Closed();
  vm_.Ready();
  EXPECT_EQ(vm_.agent_queries, 2);
}

TEST_F(VmSessionAgentTest, ItsAnswerIsTheLastOfAnAttach) {
  EXPECT_TRUE(vm_.Status().attached);
  EXPECT_TRUE(vm_.statuses.back().attached);
  vm_.agent_answer.reset();
  vm_.Closed();
  EXPECT_FALSE(vm_.Status().attached);
  vm_.Ready();
  EXPECT_FALSE(vm_.Status().attached);
  vm_.Agent({});
  EXPECT_TRUE(vm_.Status().attached);
  EXPECT_TRUE(vm_.statuses.back().attached);
}

TEST_F(VmSessionAgentTest, ConnectedAtAttachItIsACaveatOfTheUsersShutdown) {
  vm_.Agent(Port(true));
  vm_.EndBy("guest-shutdown");
  ExpectUser(vm_, true);
}

TEST_F(VmSessionAgentTest, APortThatNobodyOpensIsNone) {
  vm_.Agent(Port(false));
  vm_.EndBy("guest-shutdown");
  ExpectUser(vm_, false);
}

TEST_F(VmSessionAgentTest, ItsPortsEventsAreFollowed) {
  vm_.Agent(Port(false));
  vm_.Event("VSERPORT_CHANGE", R"({"id": "spice", "open": true})");
  vm_.Event("VSERPORT_CHANGE", R"({"open": true})");
  vm_.Event("VSERPORT_CHANGE", R"({"id": "ch0", "open": 1})");
  EXPECT_EQ(vm_.agent_queries, 1);
  vm_.Event("VSERPORT_CHANGE", R"({"id": "ch0", "open": true})");
  EXPECT_THAT(vm_.Types(), ElementsAre(EventType::kStarted)) << "it is no event of the VM's life";
  vm_.EndBy("guest-shutdown");
  ExpectUser(vm_, true);
}

// A guest that shuts down in order ends its agent first.
TEST_F(VmSessionAgentTest, OneThatLeftWithinTheWindowCountsAndNoOlderOne) {
  for (const bool within : {true, false}) {
    RunningVm vm(SessionOptions{.powerdown_window = absl::Seconds(60)});
    vm.Agent(Port(true));
    vm.Event("VSERPORT_CHANGE", R"({"id": "ch0", "open": false})");
    vm.Advance(absl::Seconds(60) + (within ? absl::ZeroDuration() : absl::Nanoseconds(1)));
    vm.EndBy("guest-shutdown");
    ExpectUser(vm, within);
    if (within) {
      EXPECT_THAT(EvidenceOf(vm.Stopped()), HasSubstr("guest agent disconnected; "));
    }
  }
}

TEST_F(VmSessionAgentTest, AResetForgetsTheAgentOfTheBootBefore) {
  vm_.Agent(Port(true));
  vm_.Event("VSERPORT_CHANGE", R"({"id": "ch0", "open": false})");
  vm_.Event("RESET", R"({"guest": true, "reason": "guest-reset"})");
  vm_.EndBy("guest-shutdown");
  ExpectUser(vm_, false);
}

TEST_F(VmSessionAgentTest, APortThatWasPluggedInLaterIsLookedUp) {
  vm_.Agent({});
  vm_.Event("VSERPORT_CHANGE", R"({"id": "ch9", "open": true})");
  EXPECT_EQ(vm_.agent_queries, 2);
  vm_.Agent({.present = true, .open = true, .reported = true, .port = "ch9"});
  vm_.EndBy("guest-shutdown");
  ExpectUser(vm_, true);
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

TEST_F(VmSessionAgentTest, AQemuThatNamesEverMorePortsIsAskedNoMore) {
  for (int i = 0; i < 1000; ++i) {
    vm_.Event("VSERPORT_CHANGE", absl::StrCat(R"({"open": true, "id": "p)", i, R"("})"));
  }
  EXPECT_EQ(vm_.agent_queries, 1 + static_cast<int>(GuestAgentProbe::kMaxPorts));
}

TEST_F(VmSessionAgentTest, APortThatIsNotReportedMayHaveAnAgent) {
  vm_.Agent({.present = true});
  vm_.EndBy("guest-shutdown");
  EXPECT_THAT(vm_.Stopped().caveats, ElementsAre(ShutdownCaveat::kGuestAgentPossible));
  EXPECT_THAT(EvidenceOf(vm_.Stopped()), HasSubstr("QEMU does not report"));
}

// QEMU is asked one question after the other, and a guest may be faster than the answers.
TEST_F(VmSessionAgentTest, OneThatIsNotKnownYetMayBeConnected) {
  for (const bool restarted : {false, true}) {
    SessionDriver vm;
    vm.agent_answer.reset();
    vm.Ready();
    if (restarted) vm.RestartAndAttach();
    vm.EndBy("guest-shutdown");
    EXPECT_THAT(vm.Stopped().caveats, ElementsAre(ShutdownCaveat::kGuestAgentPossible));
    EXPECT_THAT(EvidenceOf(vm.Stopped()), HasSubstr("did not know yet"));
  }
}

TEST_F(VmSessionAgentTest, ThatThereIsNoneIsKnownAfterARestartToo) {
  vm_.agent_answer.reset();
  vm_.RestartAndAttach();
  vm_.EndBy("guest-shutdown");
  ExpectUser(vm_, false);
}

TEST_F(VmSessionAgentTest, AnIntentSettlesIt) {
  vm_.Agent(Port(true));
  vm_.Declare();
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kGuestPoweroff);
  EXPECT_THAT(vm_.Stopped().caveats, IsEmpty());
}

TEST_F(VmSessionAgentTest, WhatIsNotTheUsersHasNoCaveat) {
  const char* const kReasons[] = {"host-signal", "host-qmp-quit", "guest-panic", "host-error"};
  for (const char* reason : kReasons) {
    RunningVm vm;
    vm.Agent(Port(true));
    vm.EndBy(reason);
    EXPECT_THAT(vm.Stopped().caveats, IsEmpty()) << reason;
  }
  RunningVm pressed;
  pressed.Agent(Port(true));
  pressed.Event("POWERDOWN");
  pressed.EndBy("guest-shutdown");
  EXPECT_THAT(pressed.Stopped().caveats, IsEmpty());
}

// The agent can ask for a reboot and for a suspend to disk as well.
TEST_F(VmSessionAgentTest, EveryShutdownOfTheUserHasIt) {
  for (const char* reason : {"guest-reset", "guest-shutdown"}) {
    RunningVm vm;
    vm.Agent(Port(true));
    vm.Event("SUSPEND_DISK");
    vm.EndBy(reason);
    EXPECT_EQ(vm.Stopped().shutdown_class, ShutdownClass::kUser);
    EXPECT_THAT(vm.Stopped().caveats, ElementsAre(ShutdownCaveat::kGuestAgentConnected)) << reason;
  }
}

TEST_F(VmSessionAgentTest, ItIsKeptAcrossARestart) {
  for (const bool down_before : {false, true}) {
    RunningVm vm;
    vm.Agent(Port(true));
    if (down_before) vm.Shutdown("guest-shutdown");
    vm.Restart();
    if (!down_before) {
      vm.Ready();
      vm.Agent(Port(false));  // it left while nobody looked: it may have been asked
      vm.Shutdown("guest-shutdown");
    }
    vm.Gone();
    ExpectUser(vm, true);
  }
}

}  // namespace
}  // namespace vmeventd
