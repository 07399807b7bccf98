#include <csignal>
#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/qmp/restart_fixture.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class UntrackedRestartTest : public RestartTest {
 protected:
  UntrackedRestartTest() { options_.process_tracking = false; }
};

TEST_F(UntrackedRestartTest, TheSameSocketIsTheSameRun) {
  const int monitor = Follow(&qemu_);
  const std::string run_id = RunId("vm1");
  for (const size_t handshakes : {2, 3}) {
    Restart();
    ASSERT_TRUE(Until([&] { return Handshakes(qemu_, monitor) == handshakes; }));
  }
  PowerOff(&qemu_, monitor);
  EXPECT_THAT(sink_.Types(), ElementsAre(EventType::kStarted, EventType::kStopped));
  EXPECT_EQ(RunId("vm1"), run_id);
  EXPECT_EQ(LastClass(), ShutdownClass::kUser);
}

TEST_F(UntrackedRestartTest, GoesOnWhenProcessesAreTrackedFromNowOnAndTheOtherWayRound) {
  for (const bool tracked_first : {false, true}) {
    const std::string vm = tracked_first ? "tracked" : "untracked";
    options_.process_tracking = tracked_first;
    FakeQemu qemu;
    const int monitor = qemu.AddMonitor(Socket(vm));
    Start();
    ASSERT_TRUE(UntilState(vm, VmState::kRunning));
    const std::string run_id = RunId(vm);
    options_.process_tracking = !tracked_first;
    Restart();
    ASSERT_TRUE(Until([&] { return Handshakes(qemu, monitor) == 2; }));
    ASSERT_TRUE(UntilScanned());
    qemu.Exit();
    ASSERT_TRUE(Until([&] { return sink_.Latest(vm)->state == VmState::kStopped; }));
    EXPECT_THAT(sink_.Types(vm), ElementsAre(EventType::kStarted, EventType::kStopped));
    EXPECT_EQ(RunId(vm), run_id);
    Die();
  }
}

TEST_F(UntrackedRestartTest, ASocketThatIsGoneOrRefusesIsTheEnd) {
  for (const bool gone : {false, true}) {
    FakeQemu qemu;
    const std::string vm = gone ? "gone" : "refuses";
    const int monitor = qemu.AddMonitor(Socket(vm));
    Start();
    ASSERT_TRUE(UntilState(vm, VmState::kRunning));
    Die();
    qemu.CloseListener(monitor);
    if (gone) qemu.Unlink(monitor);
    RestartUntilScanned();
    EXPECT_EQ(sink_.Latest(vm)->state, VmState::kStopped) << vm;
    EXPECT_EQ(LastClass(), ShutdownClass::kUnknown);
    EXPECT_THAT(Kept(), IsEmpty());
    Die();
  }
}

TEST_F(UntrackedRestartTest, AReplacedSocketIsTheEndAndANewRun) {
  FakeQemu old_qemu;
  FakeQemu new_qemu;
  const int monitor = Follow(&old_qemu);
  old_qemu.Send(monitor, kGuestShutdownLine);
  ASSERT_TRUE(UntilShutdownKept());
  const std::string old_run = RunId("vm1");
  Die();
  old_qemu.Unlink(monitor);
  new_qemu.AddMonitor(Socket("vm1"));
  Restart();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_EQ(sink_.Last(EventType::kStopped)->update.status->ref.run_id, old_run);
  EXPECT_EQ(LastClass(), ShutdownClass::kUser);
  EXPECT_FALSE(FileExists(ShutdownFile("vm1"))) << "the name is the new run's";
  EXPECT_NE(RunId("vm1"), old_run);
}

TEST_F(UntrackedRestartTest, AFullDescriptorTableEndsNoRun) {
  const int monitor = qemu_.AddMonitor(Socket("lives"));
  const int gone = qemu_.AddMonitor(Socket("gone"));
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  for (const auto& [run_id, text] : Kept()) options_.saved_runs.push_back(text);
  StartWithManualClock();
  {
    const FullDescriptorTable full;
    Turn();
    Turn();
    EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  }
  qemu_.Unlink(gone);
  ASSERT_TRUE(Until([&] {
    manual_clock_.Advance(absl::Milliseconds(100));
    return Handshakes(qemu_, monitor) == 2 && sink_.Count(EventType::kStopped) == 1;
  }));
  EXPECT_EQ(sink_.Latest("gone")->state, VmState::kStopped);
  EXPECT_EQ(sink_.Count(EventType::kStarted), 2);
}

TEST_F(UntrackedRestartTest, NoRunIdIsUsedTwice) {
  const int monitor = qemu_.AddMonitor(Socket("vm1"));
  std::set<std::string> run_ids;
  int started = 0;
  for (int daemon = 0; daemon < 3; ++daemon) {
    Restart();
    for (int run = 0; run < 2; ++run) {
      ASSERT_TRUE(UntilCount(EventType::kStarted, ++started));
      run_ids.insert(RunId("vm1"));
      qemu_.CloseClient(monitor);
      ASSERT_TRUE(UntilCount(EventType::kStopped, started));
    }
    Die();
  }
  EXPECT_THAT(run_ids, SizeIs(started));
}

}  // namespace
}  // namespace vmeventd
