// A restart of the daemon: what it knows, what it missed, and what its clients see.

#include <csignal>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/support/guest.h"
#include "tests/support/wait.h"
#include "tests/system/chatty_vm.h"
#include "tests/system/daemon_waits.h"
#include "tests/system/e2e_test.h"
#include "tests/system/test_names.h"
#include "tests/system/vm_end.h"
#include "tests/system/vmevents_command.h"

namespace vmeventd::e2e {
namespace {

using testing::Contains;
using testing::Each;
using testing::HasSubstr;

// Once for each way to end the daemon: the parameter is a signal.
class RestartTest : public E2eTest, public testing::WithParamInterface<int> {
 protected:
  void End() { EXPECT_EQ(EndDaemon(GetParam()), GetParam() == SIGTERM ? 0 : SIGKILL); }
  void Restart() {
    End();
    StartDaemonAndStream();
  }
  // Between two questions: QEMU 7.2 may hang in its exit over one (docs/internals/qemu.md).
  void RestartWhileAttached(const Guest& guest) {
    WaitUntilAttached(daemon(), guest.name());
    Restart();
    WaitUntilAttached(daemon(), guest.name());
  }
  static std::vector<std::string> RunIds(const std::vector<v1::Event>& events) {
    std::vector<std::string> ids;
    ids.reserve(events.size());
    for (const v1::Event& event : events) ids.push_back(event.vm().run_id());
    return ids;
  }
};

INSTANTIATE_TEST_SUITE_P(By, RestartTest, testing::Values(SIGKILL, SIGTERM), kBySignal);

TEST_P(RestartTest, ARunKeepsItsIdAndIsStartedOnce) {
  StartDaemonAndStream();
  const auto guest = StartEmptyGuest("vm1");
  const v1::Event started = WaitFollowed("vm1");
  Restart();
  guest->manager().Execute("stop");
  stream().Wait("vm1", v1::EVENT_TYPE_PAUSED);
  WaitUntilAttached(daemon(), "vm1");
  EXPECT_EQ(daemon().GetVm("vm1").ref().run_id(), started.vm().run_id());
  guest->manager().Execute("quit");
  ExpectStopped(kHostQuit);
  const auto events = stream().EventsOf("vm1");
  EXPECT_THAT(RunIds(events), Each(started.vm().run_id()));
  EXPECT_THAT(TypesOf(events), testing::MatchesRegex("STARTED (GAP )?PAUSED STOPPED"));
  EXPECT_EQ(events.front().SerializeAsString(), started.SerializeAsString());
}

TEST_P(RestartTest, APowerdownBeforeARestartDoesNotDecideAnEndAfterIt) {
  StartDaemonAndStream();
  const auto guest = StartGuest({.obeys_power_button = false});
  guest->manager().Execute("system_powerdown");
  stream().Wait("vm1", v1::EVENT_TYPE_POWERDOWN_REQUESTED);
  RestartWhileAttached(*guest);
  guest->PowerOff();
  const v1::Event stopped = ExpectStopped(kUnobserved);
  EXPECT_TRUE(stopped.shutdown().has_powerdown_age());
  EXPECT_THAT(EvidenceOf(stopped), Contains(HasSubstr("it may have been reset")));
  EXPECT_FALSE(FileAtStop("vm1"));
}

TEST_P(RestartTest, AnUnobservedEndIsUnknown) {
  StartDaemonAndStream();
  const auto user = StartGuest();
  const auto quit = StartEmptyGuest("vm2");
  const auto killed = StartEmptyGuest("vm3");
  for (const char* name : {"vm1", "vm2", "vm3"}) stream().Wait(name, v1::EVENT_TYPE_STARTED);
  End();
  user->PowerOff();
  quit->manager().Execute("quit");
  killed->Signal(SIGKILL);
  for (Guest* guest : {user.get(), quit.get(), killed.get()}) guest->WaitExit();
  StartDaemonAndStream();
  for (const char* name : {"vm1", "vm2", "vm3"}) {
    EXPECT_THAT(EvidenceOf(ExpectStopped(kUnobserved, name)),
                Contains(HasSubstr("events while it was down")));
    const v1::Event stopped = stream().EventsOf(name).back();
    EXPECT_LT(stopped.shutdown().last_seen_time().seconds(), stopped.observe_time().seconds() + 1);
    EXPECT_TRUE(stopped.shutdown().has_last_seen_time());
    EXPECT_EQ(TypesOf(stream().EventsOf(name)), "STARTED STOPPED");
    EXPECT_FALSE(Exists(watch_dir() + "/" + name + ".shutdown"));
  }
  Restart();
  ExpectStopped(kUnobserved, "vm3");
  for (const char* name : {"vm1", "vm2", "vm3"}) {
    EXPECT_EQ(TypesOf(stream().EventsOf(name)), "STARTED STOPPED") << "still only once";
  }
}

// A VM that floods, and a client that does not read until asked to.
class DrainTest : public E2eTest {
 protected:
  DrainTest() : vm_(watch_dir(), "vm1") { LimitEvents(false); }

  // Starts a `vmevents watch` for STARTED and one burst, which reads nothing until it gets SIGCONT.
  std::unique_ptr<ChildProcess> StartStoppedWatch() {
    ChildOptions child;
    child.arguments = VmeventsCommand(
        daemon().server_address(),
        {"-o", "json", "watch", "--from", "oldest", "--count", absl::StrCat(kBurst + 1)});
    child.arguments.insert(child.arguments.begin(),
                           {"/bin/sh", "-c", "exec \"$@\" >\"$0\"", watch_output()});
    child.error_file = watch_errors();
    auto watch = std::make_unique<ChildProcess>(child);
    WaitUntil("its first event is printed", [&] { return !ReadFile(watch_output()).empty(); });
    watch->Signal(SIGSTOP);
    return watch;
  }
  std::string watch_output() const { return dir() / "watch-output"; }
  std::string watch_errors() const { return dir() / "watch-errors"; }

  // Far more than a connection buffers.
  static constexpr int kBurst = 8'000;

  ChattyVm vm_;
};

TEST_F(DrainTest, AStopDoesNotWaitForAClientThatNeverReadsAndThatClientCanResume) {
  StartDaemonAndStream();
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  const auto watch = StartStoppedWatch();
  vm_.Send(kBurst);
  stream().Wait("the burst", [](const v1::Event& event) { return event.sequence() > kBurst; });
  EXPECT_EQ(EndDaemon(SIGTERM), 0);  // while that client still does not read
  StartDaemon();
  watch->Signal(SIGCONT);
  EXPECT_EQ(watch->Wait(), 0) << ReadFile(watch_errors());
  uint64_t expected = 1;
  for (const absl::string_view line :
       absl::StrSplit(ReadFile(watch_output()), '\n', absl::SkipEmpty())) {
    const auto event = nlohmann::json::parse(std::string(line));
    ASSERT_EQ(event["sequence"].get<std::string>(), absl::StrCat(expected));
    ++expected;
  }
  EXPECT_EQ(expected, kBurst + 2u);
}

}  // namespace
}  // namespace vmeventd::e2e
