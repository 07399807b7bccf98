#include "watcher/runs/command_lines.h"

#include <unistd.h>

#include <memory>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/process_state.h"
#include "tests/support/test_util.h"
#include "tests/watcher/runs/child.h"
#include "watcher/core/qemu_arguments.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

// A shell that has `arguments` as its own and waits to be killed.
int RunAs(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin() + 1, {"-c", "kill -STOP $$"});
  arguments.push_back(nullptr);
  execv("/bin/sh", const_cast<char* const*>(arguments.data()));
  return 1;
}

class CommandLinesTest : public testing::Test {
 protected:
  // Returns once that process has said so of itself.
  const QemuArguments* Find(pid_t pid) {
    read_ = lines_.Begin(pid);
    EXPECT_TRUE(
        StepUntil([] { absl::SleepFor(absl::Milliseconds(1)); }, [&] { return read_->done(); }));
    return read_->found();
  }
  // The process runs its program.
  const QemuArguments* FindOnceItRuns(pid_t pid) {
    EXPECT_TRUE(
        StepUntil([] { absl::SleepFor(absl::Milliseconds(1)); }, [&] { return IsStopped(pid); }));
    return Find(pid);
  }

  CommandLines lines_;
  std::shared_ptr<const CommandLines::Read> read_;
};

TEST_F(CommandLinesTest, SaysWhatAQemuWasStartedWith) {
  const Child qemu([] {
    return RunAs({"/usr/bin/qemu-system-x86_64", "-qmp", "unix:/p,server=on", "-name", "web1"});
  });
  const QemuArguments* const found = FindOnceItRuns(qemu.pid());
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->certain_name, "web1");
}

TEST_F(CommandLinesTest, SaysNothingOfOtherProcesses) {
  EXPECT_EQ(Find(getpid()), nullptr);
  Child ended([] { return 0; });
  const pid_t pid = ended.pid();
  ended.AwaitEnd();
  EXPECT_EQ(Find(pid), nullptr);
  ended.Reap();
  EXPECT_EQ(Find(pid), nullptr);
}

}  // namespace
}  // namespace vmeventd
