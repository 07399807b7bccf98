// What a guest agent leaves open of a shutdown that looks like the guest's own.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/session/session_driver.h"

namespace vmeventd {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

GuestAgentInfo Port(bool open) {
  return {.present = true, .open = open, .reported = true, .port = "ch0", .other_ports = {"spice"}};
}
GuestAgentInfo UnnamedPort(bool open) { return {.present = true, .open = open}; }

std::vector<std::string> EvidenceOf(const SessionDriver& vm) {
  std::vector<std::string> texts;
  for (const EvidenceEntry& entry : vm.Stopped().evidence) texts.push_back(entry.what);
  return texts;
}

void ExpectUser(const SessionDriver& vm, bool connected) {
  ExpectVerdict(vm, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  if (connected) {
    EXPECT_THAT(vm.Stopped().caveats, ElementsAre(ShutdownCaveat::kGuestAgentConnected));
    EXPECT_THAT(EvidenceOf(vm), Contains(HasSubstr("guest agent connected")));
    EXPECT_THAT(vm.Last().message, HasSubstr("guest agent connected"));
  } else {
    EXPECT_THAT(vm.Stopped().caveats, IsEmpty());
    EXPECT_THAT(EvidenceOf(vm), Not(Contains(HasSubstr("agent"))));
  }
}

TEST(VmSessionAgentTest, IsAskedForAtEachAttach) {
  RunningVm vm;
  EXPECT_EQ(vm.agent_queries, 1);
  vm.Closed();
  vm.Ready();
  EXPECT_EQ(vm.agent_queries, 2);
}

TEST(VmSessionAgentTest, ConnectedAtAttachItIsACaveatOfTheUsersShutdown) {
  RunningVm vm;
  vm.Agent(Port(true));
  vm.EndBy("guest-shutdown");
  ExpectUser(vm, true);
}

TEST(VmSessionAgentTest, APortThatNobodyOpensIsNone) {
  RunningVm vm;
  vm.Agent(Port(false));
  vm.EndBy("guest-shutdown");
  ExpectUser(vm, false);
}

TEST(VmSessionAgentTest, ItsPortsEventsAreFollowed) {
  RunningVm vm;
  vm.Agent(Port(false));
  vm.Event("VSERPORT_CHANGE", R"({"id": "spice", "open": true})");
  vm.Event("VSERPORT_CHANGE", R"({"open": true})");
  vm.Event("VSERPORT_CHANGE", R"({"id": "ch0", "open": 1})");
  EXPECT_EQ(vm.agent_queries, 1);
  vm.Event("VSERPORT_CHANGE", R"({"id": "ch0", "open": true})");
  EXPECT_THAT(vm.Types(), ElementsAre(EventType::kStarted)) << "it is no event of the VM's life";
  vm.EndBy("guest-shutdown");
  ExpectUser(vm, true);
}

// A guest that shuts down in order ends its agent first.
TEST(VmSessionAgentTest, OneThatLeftWithinTheWindowCountsAndNoOlderOne) {
  for (const bool within : {true, false}) {
    RunningVm vm(SessionOptions{.powerdown_window = absl::Seconds(60)});
    vm.Agent(Port(true));
    vm.Event("VSERPORT_CHANGE", R"({"id": "ch0", "open": false})");
    vm.Advance(absl::Seconds(60) + (within ? absl::ZeroDuration() : absl::Nanoseconds(1)));
    vm.EndBy("guest-shutdown");
    ExpectUser(vm, within);
    if (within) {
      EXPECT_THAT(EvidenceOf(vm), Contains("guest agent disconnected"));
    }
  }
}

TEST(VmSessionAgentTest, AResetForgetsTheAgentOfTheBootBefore) {
  RunningVm vm;
  vm.Agent(Port(true));
  vm.Event("VSERPORT_CHANGE", R"({"id": "ch0", "open": false})");
  vm.Event("RESET", R"({"guest": true, "reason": "guest-reset"})");
  vm.EndBy("guest-shutdown");
  ExpectUser(vm, false);
}

TEST(VmSessionAgentTest, APortThatWasPluggedInLaterIsLookedUp) {
  RunningVm vm;
  vm.Agent({});
  vm.Event("VSERPORT_CHANGE", R"({"id": "ch9", "open": true})");
  EXPECT_EQ(vm.agent_queries, 2);
  vm.Agent({.present = true, .open = true, .reported = true, .port = "ch9"});
  vm.EndBy("guest-shutdown");
  ExpectUser(vm, true);
}

// A console sends the same event as often as its guest likes.
TEST(VmSessionAgentTest, AConsoleWithAnIdIsAskedAboutOnce) {
  RunningVm vm;
  vm.Agent(Port(true));
  for (int i = 0; i < 10; ++i) {
    vm.Event("VSERPORT_CHANGE", R"({"id": "console0", "open": true})");
    vm.Agent(Port(true));
  }
  EXPECT_EQ(vm.agent_queries, 2);
}

TEST(VmSessionAgentTest, AQemuThatNamesEverMorePortsIsAskedNoMore) {
  RunningVm vm;
  for (int i = 0; i < 1000; ++i) {
    vm.Event("VSERPORT_CHANGE", absl::StrCat(R"({"open": true, "id": "p)", i, R"("})"));
  }
  EXPECT_EQ(vm.agent_queries, 1 + static_cast<int>(GuestAgentProbe::kMaxPorts));
}

TEST(VmSessionAgentTest, APortThatIsNotReportedMayHaveAnAgent) {
  RunningVm vm;
  vm.Agent(UnnamedPort(false));
  vm.EndBy("guest-shutdown");
  EXPECT_THAT(vm.Stopped().caveats, ElementsAre(ShutdownCaveat::kGuestAgentPossible));
  EXPECT_THAT(EvidenceOf(vm), Contains(HasSubstr("QEMU does not report")));
}

// QEMU is asked one question after the other, and a guest may be faster than the answers.
TEST(VmSessionAgentTest, OneThatIsNotKnownYetMayBeConnected) {
  for (const bool restarted : {false, true}) {
    SessionDriver vm;
    vm.agent_answer.reset();
    vm.Ready();
    if (restarted) {
      vm.Restart();
      vm.Ready();
    }
    vm.EndBy("guest-shutdown");
    EXPECT_THAT(vm.Stopped().caveats, ElementsAre(ShutdownCaveat::kGuestAgentPossible));
    EXPECT_THAT(EvidenceOf(vm), Contains(HasSubstr("not learned yet")));
  }
}

TEST(VmSessionAgentTest, ThatThereIsNoneIsKnownAfterARestartToo) {
  RunningVm vm;
  vm.agent_answer.reset();
  vm.Restart();
  vm.Ready();
  vm.EndBy("guest-shutdown");
  ExpectUser(vm, false);
}

TEST(VmSessionAgentTest, AnIntentSettlesIt) {
  RunningVm vm;
  vm.Agent(Port(true));
  vm.Declare();
  vm.EndBy("guest-shutdown");
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kGuestPoweroff);
  EXPECT_THAT(vm.Stopped().caveats, IsEmpty());
}

TEST(VmSessionAgentTest, WhatIsNotTheUsersHasNoCaveat) {
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
TEST(VmSessionAgentTest, EveryShutdownOfTheUserHasIt) {
  for (const char* reason : {"guest-reset", "guest-shutdown"}) {
    RunningVm vm;
    vm.Agent(Port(true));
    vm.Event("SUSPEND_DISK");
    vm.EndBy(reason);
    EXPECT_EQ(vm.Stopped().shutdown_class, ShutdownClass::kUser);
    EXPECT_THAT(vm.Stopped().caveats, ElementsAre(ShutdownCaveat::kGuestAgentConnected)) << reason;
  }
}

TEST(VmSessionAgentTest, ItIsKeptAcrossARestart) {
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

TEST(VmSessionAgentTest, AFileThatWasFoundHasTheCaveatToo) {
  RunningVm vm;
  vm.Agent(Port(true));
  vm.Restart();
  vm.FoundShutdownFile(vm.now().wall);
  vm.Gone();
  EXPECT_THAT(vm.Stopped().caveats, ElementsAre(ShutdownCaveat::kGuestAgentConnected));
}

}  // namespace
}  // namespace vmeventd
