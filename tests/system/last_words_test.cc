// QEMUs that end with an error say why, and vmeventd passes that on.

#include <sys/socket.h>

#include <csignal>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/child_process.h"
#include "tests/support/unix_socket.h"
#include "tests/system/e2e_test.h"
#include "tests/system/vm_end.h"
#include "tests/system/vmevents_command.h"
#include "tests/watcher/runs/memory_cgroup.h"
#include "watcher/core/proc_texts.h"

namespace vmeventd::e2e {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

class LastWordsTest : public E2eTest {
 protected:
  LastWordsTest() { StartDaemonAndStream(); }

  // Starts a QEMU without a guest, whose standard error is a file.
  std::unique_ptr<ChildProcess> Qemu(const std::string& arguments,
                                     const std::string& machine = "none",
                                     const std::string& before = "") {
    return std::make_unique<ChildProcess>(ChildOptions{
        .arguments = {"/bin/sh", "-c",
                      absl::StrCat(before, "cd ", dir() / ".", " && exec ",
                                   "qemu-system-x86_64 -accel tcg -machine ", machine,
                                   " -nodefaults -display none -qmp unix:", watch_dir(),
                                   "/vm1.kvmd,server=on,wait=off ", arguments, " 2>>errors")},
        .dumps_core = true});
  }
};

// Memory that is there at once delays QEMU between its first socket and its devices.
constexpr char kSlowly[] = "-m 16 -object memory-backend-ram,id=slow,size=256M,prealloc=on ";

TEST_F(LastWordsTest, AnAssertionThatFailsIsQuoted) {
  const std::string test_socket = dir() / "qtest";
  const auto qemu =
      Qemu(absl::StrCat("-qtest unix:", test_socket, ",server=on,wait=off -qtest-log none"));
  WaitFollowed("vm1");
  const UniqueFd test(ConnectUnix(test_socket));
  ASSERT_EQ(send(test.get(), "writeb\n", 7, MSG_NOSIGNAL), 7);
  const v1::Event stopped = ExpectStopped(kQemuCrashed);
  const v1::ShutdownDetail& end = stopped.shutdown();
  EXPECT_THAT(end.last_words().lines(), Contains(HasSubstr("assertion failed: (words[1]")));
  EXPECT_EQ(end.last_words().source(), v1::LAST_WORDS_SOURCE_STANDARD_ERROR);
  EXPECT_TRUE(end.numbers().has_ran_for());
  const CommandResult why =
      RunCommand({.arguments = VmeventsCommand(daemon().server_address(),
                                               {"--color", "never", "why", "vm1"})});
  EXPECT_THAT(why.output, HasSubstr("QEMU's last words, on its standard error:\n"));
  EXPECT_THAT(why.output, HasSubstr("assertion failed"));
}

TEST_F(LastWordsTest, TheReasonOfAFailedStartIsQuoted) {
  const auto qemu = Qemu(absl::StrCat(kSlowly, "-kernel /there/is/none"), "pc");
  const v1::Event stopped = ExpectStopped(kNeverRan);
  EXPECT_THAT(stopped.shutdown().last_words().lines(),
              ElementsAre(HasSubstr("could not open kernel file '/there/is/none'")));
}

TEST_F(LastWordsTest, TheCoreOfASegmentationFaultIsNamed) {
  const auto qemu = Qemu("");
  WaitFollowed("vm1");
  qemu->Signal(SIGSEGV);
  const v1::Event stopped = ExpectStopped(kQemuCrashed);
  const std::string pattern = ReadFile("/proc/sys/kernel/core_pattern");
  EXPECT_EQ(stopped.shutdown().core(), CoreOf(pattern, qemu->pid()));
  EXPECT_THAT(EvidenceOf(stopped), Contains("core dumped: " + CoreOf(pattern, qemu->pid())));
  EXPECT_FALSE(stopped.shutdown().has_last_words());
}

TEST_F(LastWordsTest, AQemuThatIsKilledForMemoryHasItsPeakAndTheLimit) {
  constexpr size_t kLimit = size_t{160} << 20;
  const MemoryCgroup cgroup(kLimit);
  if (!cgroup.made()) GTEST_SKIP() << "no memory cgroup can be made here";
  const std::string path = dir() / "hmp";
  const auto qemu =
      Qemu(absl::StrCat("-monitor unix:", path, ",server=on,wait=off"), "none", cgroup.JoinLine());
  WaitFollowed("vm1");
  const UniqueFd monitor(ConnectUnix(path));
  const std::string line = "object_add memory-backend-ram,id=big,size=512M,prealloc=on\n";
  ASSERT_EQ(send(monitor.get(), line.data(), line.size(), MSG_NOSIGNAL), line.size());
  const v1::Event stopped = ExpectStopped(kOutOfMemory);
  const v1::EndNumbers& numbers = stopped.shutdown().numbers();
  EXPECT_EQ(numbers.memory_limit_bytes(), kLimit);
  EXPECT_GT(numbers.peak_memory_bytes(), kLimit / 2);
  EXPECT_LE(numbers.peak_memory_bytes(), kLimit);
  const CommandResult why =
      RunCommand({.arguments = VmeventsCommand(daemon().server_address(), {"why", "vm1"})});
  EXPECT_THAT(why.output, HasSubstr(" MiB, of a limit of 160 MiB\n"));
}

}  // namespace
}  // namespace vmeventd::e2e
