// The state directory on a full file system of 16 MiB.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/support/child_process.h"
#include "tests/support/wait.h"
#include "tests/system/chatty_vm.h"
#include "tests/system/journal_test_base.h"

namespace vmeventd::e2e {
namespace {

using testing::SizeIs;

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

  // The journal has reserved space: fills the disk until nothing can be written any more.
  void FillUntilNotWritable(ChattyVm* vm) {
    FillDisk();
    WaitUntil("the journal cannot be written", [&] {
      vm->Speak(1000);
      FillDisk();
      return !daemon().GetServerInfo().journal_writable();
    });
  }
  void WaitWritable() {
    WaitUntil("the journal is written again",
              [&] { return daemon().GetServerInfo().journal_writable() && Serving("journal"); });
  }
};

TEST_F(FullDiskTest, KillWhileFullRepeatsNothingAndReportsTheLoss) {
  StartDaemonAndStream();
  ChattyVm vm(watch_dir(), "vm1");
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  FillUntilNotWritable(&vm);
  vm.Speak(100);
  const auto guest = StartEmptyGuest("vm2");
  const v1::Event last = stream().Wait("vm2", v1::EVENT_TYPE_STARTED);
  ASSERT_FALSE(last.durable());
  const std::string journal_id = daemon().GetServerInfo().journal_id();
  KillDaemon();

  StartDaemon();  // still full
  EXPECT_EQ(daemon().GetServerInfo().journal_id(), journal_id);
  EXPECT_TRUE(Serving(""));
  EventStream resumed(daemon().channel(), After(last.sequence(), journal_id));
  const v1::Event gap = resumed.Wait("a GAP of the node", [](const v1::Event& e) {
    return e.type() == v1::EVENT_TYPE_GAP && !e.has_vm();
  });
  EXPECT_GT(gap.sequence(), last.sequence());
  KillDaemon();

  FreeDisk();
  StartDaemonAndStream();
  WaitWritable();
  guest->manager().Execute("quit");
  const v1::Event stopped = stream().Wait("vm2", v1::EVENT_TYPE_STOPPED);
  EXPECT_GT(stopped.sequence(), gap.sequence());
  EXPECT_TRUE(stopped.durable());
  ExpectInOrder(stream().events());
  EXPECT_TRUE(TryCursor(last.sequence(), journal_id).ok());
  EXPECT_TRUE(TryCursor(gap.sequence(), journal_id).ok());
  EventStream again(daemon().channel(), After(last.sequence(), journal_id));
  again.Wait("vm2", v1::EVENT_TYPE_STOPPED);
  EXPECT_EQ(again.events().front().type(), v1::EVENT_TYPE_GAP) << "the loss is reported";
}

TEST_F(FullDiskTest, StartsWithAFullDiskAfterAnOrderlyStop) {
  StartDaemon();
  daemon().Signal(SIGTERM);
  EXPECT_EQ(daemon().WaitExit(), 0);
  FillDisk();
  StartDaemonAndStream();
  ChattyVm vm(watch_dir(), "vm0");
  FillUntilNotWritable(&vm);
  EXPECT_FALSE(daemon().GetServerInfo().journal_writable());
  const auto guest = StartEmptyGuest("vm1");
  EXPECT_FALSE(stream().Wait("vm1", v1::EVENT_TYPE_STARTED).durable());
  FreeDisk();
  WaitWritable();
  guest->manager().Execute("quit");
  EXPECT_TRUE(stream().Wait("vm1", v1::EVENT_TYPE_STOPPED).durable());
}

TEST_F(FullDiskTest, RetentionKeepsAFloodWithinASmallDisk) {
  DaemonOptions options = Options();
  options.arguments.insert(options.arguments.end(), {"--retention-events", "5000"});
  StartDaemon(options);
  ChattyVm vm(watch_dir(), "vm1");
  constexpr int kRounds = 60;  // more than the disk holds
  constexpr int kBurst = 2000;
  for (int i = 1; i <= kRounds; ++i) {
    vm.Speak(kBurst);
    WaitUntil("the burst is published", [&] {
      return daemon().GetServerInfo().newest_sequence() >= static_cast<uint64_t>(i) * kBurst;
    });
    ASSERT_TRUE(daemon().GetServerInfo().journal_writable()) << "after " << i * kBurst << " events";
  }
  WaitUntil("retention has caught up", [&] {
    const auto info = daemon().GetServerInfo();
    return info.newest_sequence() - info.oldest_sequence() < 5000;
  });
  const auto kept = ListEvents();
  EXPECT_THAT(kept, SizeIs(testing::Le(5000)));
  ExpectInOrder(kept);
  EXPECT_TRUE(std::all_of(kept.begin(), kept.end(),
                          [](const v1::Event& event) { return event.durable(); }));
}

// Runs `vmevents watch` the whole time, with its output in a file.
class WatchOnAFullDiskTest : public FullDiskTest {
 protected:
  void StartWatch() {
    ChildOptions child;
    child.arguments = {
        "sh",    "-c",       "exec \"$0\" \"$@\" >" + output(), VMEVENTS_BINARY, "-o",
        "json",  "--server", "unix:" + Options().socket,        "watch",         "--from",
        "oldest"};
    child.error_file = dir() / "watch-errors";
    watch_ = std::make_unique<ChildProcess>(child);
  }
  std::string output() const { return dir() / "watched"; }

  // How many times each sequence was shown.
  std::map<uint64_t, int> Shown() const {
    std::map<uint64_t, int> shown;
    std::ifstream file(output());
    for (std::string line; std::getline(file, line) && !file.eof();) {
      ++shown[std::stoull(nlohmann::json::parse(line)["sequence"].get<std::string>())];
    }
    return shown;
  }
  void WaitNotDurable() {
    WaitUntil("something was shown that is not durable",
              [this] { return ReadFile(output()).find("\"durable\":false") != std::string::npos; });
  }
  // Expects that each event of the journal was shown once.
  void ExpectShownOnce() {
    const auto events = ListEvents();
    WaitUntil("the newest is shown", [&] { return Shown().count(events.back().sequence()) > 0; });
    std::map<uint64_t, int> shown = Shown();
    for (const v1::Event& event : events) {
      EXPECT_EQ(shown[event.sequence()], 1) << event.ShortDebugString();
    }
  }

 private:
  std::unique_ptr<ChildProcess> watch_;
};

TEST_F(WatchOnAFullDiskTest, ShowsEachEventOnceThoughItReadsSomeAgain) {
  ChattyVm vm(watch_dir(), "vm1");
  StartDaemon();
  StartWatch();
  FillUntilNotWritable(&vm);
  WaitNotDurable();
  FreeDisk();
  WaitWritable();
  vm.Speak(10);
  ExpectShownOnce();
}

TEST_F(WatchOnAFullDiskTest, ShowsTheEventsInThePlaceOfThoseLostInACrash) {
  ChattyVm vm(watch_dir(), "vm1");
  StartDaemon();
  StartWatch();
  FillUntilNotWritable(&vm);
  WaitNotDurable();
  KillDaemon();
  FreeDisk();
  StartDaemon();
  vm.Speak(10);
  ExpectShownOnce();
}

}  // namespace
}  // namespace vmeventd::e2e
