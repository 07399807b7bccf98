// The state directory on a full file system of 16 MiB.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "tests/support/fail.h"
#include "tests/support/fake_service_manager.h"
#include "tests/support/is_serving.h"
#include "tests/support/wait.h"
#include "tests/support/watch_requests.h"
#include "tests/system/chatty_vm.h"
#include "tests/system/journal_test_base.h"
#include "tests/system/small_disk.h"

namespace vmeventd::e2e {
namespace {

class FullDiskTest : public OnSmallDisk<JournalTestBase> {
 protected:
  FullDiskTest() : OnSmallDisk("16m") {}

  // Fills all free space.
  void FillDisk() {
    const int file = open(filler().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0) FailErrno(filler());
    const std::string piece(4096, 'x');
    while (write(file, piece.data(), piece.size()) > 0) {
    }
    EXPECT_EQ(errno, ENOSPC);
    close(file);
  }
  void FreeDisk() { std::filesystem::remove(filler()); }

  // Expects increasing sequences, with a hole only before a GAP of the node.
  static void ExpectInOrder(const std::vector<v1::Event>& events) {
    for (size_t i = 1; i < events.size(); ++i) {
      const uint64_t before = events[i - 1].sequence();
      const bool gap = !events[i].has_vm() && events[i].type() == v1::EVENT_TYPE_GAP;
      ASSERT_GT(events[i].sequence(), before);
      ASSERT_TRUE(events[i].sequence() == before + 1 || gap)
          << before << " is followed by " << events[i].ShortDebugString();
    }
  }

  // The journal has reserved space: fills the disk until nothing can be written any more.
  void FillUntilNotWritable(ChattyVm* vm) {
    FillDisk();
    WaitUntil("the journal cannot be written", [&] {
      vm->Send(1000);
      FillDisk();
      return !daemon().GetServerInfo().journal_writable();
    });
  }
  void WaitWritable() {
    WaitUntil("the journal is written again", [&] {
      return daemon().GetServerInfo().journal_writable() &&
             IsServing(daemon().channel(), "journal");
    });
  }
};

TEST_F(FullDiskTest, AKillWhileTheDiskIsFullRepeatsNoSequenceAndReportsTheLoss) {
  StartDaemonAndStream();
  ChattyVm vm(watch_dir(), "vm1");
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  FillUntilNotWritable(&vm);
  vm.Send(100);
  const auto guest = StartEmptyGuest("vm2");
  const v1::Event last = stream().Wait("vm2", v1::EVENT_TYPE_STARTED);
  ASSERT_FALSE(last.durable());
  const std::string journal_id = daemon().GetServerInfo().journal_id();
  KillDaemon();

  StartDaemon();  // still full
  EXPECT_EQ(daemon().GetServerInfo().journal_id(), journal_id);
  EXPECT_TRUE(IsServing(daemon().channel()));
  EventStream resumed(daemon().channel(), After(last.sequence(), journal_id));
  const v1::Event gap = resumed.Wait("a GAP of the node", [](const v1::Event& e) {
    return e.type() == v1::EVENT_TYPE_GAP && !e.has_vm() && e.has_missing();
  });
  EXPECT_GT(gap.sequence(), last.sequence());
  KillDaemon();

  FreeDisk();
  StartDaemonAndStream();
  WaitWritable();
  guest->manager().Execute("quit");
  const v1::Event stopped = WaitStopped("vm2");
  EXPECT_GT(stopped.sequence(), gap.sequence());
  EXPECT_TRUE(stopped.durable());
  ExpectInOrder(stream().events());
  EXPECT_TRUE(TryCursor(last.sequence(), journal_id).ok());
  EXPECT_TRUE(TryCursor(gap.sequence(), journal_id).ok());
  EventStream again(daemon().channel(), After(last.sequence(), journal_id));
  again.Wait("vm2", v1::EVENT_TYPE_STOPPED);
  EXPECT_EQ(again.events().front().type(), v1::EVENT_TYPE_GAP) << "the loss is reported";
}

TEST_F(FullDiskTest, ARestartByTheServiceManagerWhileTheDiskIsFullLosesNothing) {
  FakeServiceManager manager(dir() / "notify");
  const auto begin = [&] {
    DaemonOptions options = Options();
    std::vector<UniqueFd> stored;
    options.wrapper = manager.Wrapper(&stored);
    StartDaemonAndStream(options);
  };
  begin();
  ChattyVm chatty(watch_dir(), "vm1");
  const auto ended = StartEmptyGuest("vm2");
  stream().Wait("vm2", v1::EVENT_TYPE_STARTED);
  FillUntilNotWritable(&chatty);
  const auto begun = StartEmptyGuest("vm3");
  ASSERT_FALSE(stream().Wait("vm3", v1::EVENT_TYPE_STARTED).durable());
  ended->manager().Execute("quit");
  ASSERT_FALSE(WaitStopped("vm2").durable());
  EndDaemon(SIGTERM);
  ASSERT_EQ(manager.stored(), 1u);

  begin();  // still full
  daemon().WaitLog("resuming 2 VMs");
  begun->manager().Execute("quit");
  EXPECT_EQ(WaitStopped("vm3").shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_ADMIN);
  const auto expect_both = [&] {
    for (const char* vm : {"vm2", "vm3"}) {
      // A QEMU that takes more than 5 s to end, as on a busy machine, is GUEST_DOWN meanwhile.
      EXPECT_THAT(TypesOf(stream().EventsOf(vm)),
                  testing::AnyOf("STARTED STOPPED", "STARTED GUEST_SHUTDOWN STOPPED"))
          << vm;
    }
  };
  expect_both();
  FreeDisk();
  WaitWritable();
  std::vector<v1::Event> events;
  WaitUntil("all is written", [&] {
    events = daemon().ListEvents();
    return std::all_of(events.begin(), events.end(),
                       [](const auto& each) { return each.durable(); });
  });
  for (const v1::Event& event : events) EXPECT_TRUE(event.has_vm()) << event.ShortDebugString();
  KillDaemon();

  begin();  // with the journal alone
  WaitStopped("vm3");
  expect_both();
  EXPECT_EQ(daemon().ListVms(/*include_stopped=*/false).size(), 1u) << "vm1 alone runs";
}

TEST_F(FullDiskTest, RetentionKeepsAFloodWithinASmallDisk) {
  std::ofstream(filler()) << std::string(size_t{8} << 20, 'x');
  StartDaemon(Options({"--retention-events", "5000"}));
  ChattyVm vm(watch_dir(), "vm1");
  constexpr int kRounds = 16;  // more than the rest holds, at 295 bytes an event
  constexpr int kBurst = 2000;
  for (int i = 1; i <= kRounds; ++i) {
    vm.Send(kBurst);
    WaitNewest(static_cast<uint64_t>(i) * kBurst);
    ASSERT_TRUE(daemon().GetServerInfo().journal_writable()) << "after " << i * kBurst << " events";
  }
  // A hundredth more may be there.
  WaitUntil("retention has caught up", [&] { return daemon().ListEvents().size() <= 5050; });
  const auto kept = daemon().ListEvents();
  EXPECT_EQ(kept.front().type(), v1::EVENT_TYPE_STARTED) << "evidence goes last";
  EXPECT_TRUE(std::is_sorted(kept.begin(), kept.end(), [](const auto& a, const auto& b) {
    return a.sequence() < b.sequence();
  }));
  EXPECT_TRUE(std::all_of(kept.begin(), kept.end(),
                          [](const v1::Event& event) { return event.durable(); }));
}

}  // namespace
}  // namespace vmeventd::e2e
