#include "watcher/runs/command_lines.h"

#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/process_state.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/unix_socket.h"
#include "tests/support/wait.h"
#include "tests/watcher/runs/child.h"
#include "watcher/core/qemu_arguments.h"
#include "watcher/runs/command_line_read.h"

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
  // Returns once that process has reported this itself.
  const QemuArguments* Find(pid_t pid) {
    read_ = lines_.Begin(pid);
    EXPECT_TRUE(
        StepUntil([] { absl::SleepFor(absl::Milliseconds(1)); }, [&] { return read_->done(); }));
    return read_->found();
  }

  CommandLines lines_;
  std::shared_ptr<const CommandLineRead> read_;
};

TEST_F(CommandLinesTest, ReturnsTheArgumentsOfAQemu) {
  const Child qemu([] {
    return RunAs({"/usr/bin/qemu-system-x86_64", "-qmp", "unix:/p,server=on", "-name", "web1"});
  });
  ASSERT_TRUE(StepUntil([] { absl::SleepFor(absl::Milliseconds(1)); },
                        [&] { return IsStopped(qemu.pid()); }));
  const QemuArguments* const found = Find(qemu.pid());
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->certain_name, "web1");
}

TEST_F(CommandLinesTest, FindsTheMonitorsThatQemusName) {
  const TemporaryDirectory directory;
  const UniqueFd monitor(e2e::ListenUnix(directory.Path("qmp.sock")));
  const UniqueFd other(e2e::ListenUnix(directory.Path("virtiofs.sock")));
  ASSERT_EQ(symlink(directory.path().c_str(), directory.Path("link").c_str()), 0);
  const auto inode_of = [&](const char* name) {
    struct stat status {};
    EXPECT_EQ(stat(directory.Path(name).c_str(), &status), 0);
    return SocketInode{status.st_dev, status.st_ino};
  };
  const std::string file_system = "socket,id=fs,path=" + directory.Path("virtiofs.sock");
  const std::string qmp = "unix:" + directory.Path("link/qmp.sock") + ",server,nowait";
  const Child qemu([&] {
    return RunAs(
        {"/usr/bin/qemu-system-x86_64", "-chardev", file_system.c_str(), "-qmp", qmp.c_str()});
  });
  ASSERT_TRUE(StepUntil([] { absl::SleepFor(absl::Milliseconds(1)); },
                        [&] { return IsStopped(qemu.pid()); }));
  const auto monitors = lines_.BeginMonitors();
  ASSERT_TRUE(
      StepUntil([] { absl::SleepFor(absl::Milliseconds(1)); }, [&] { return monitors->done(); }));
  EXPECT_TRUE(monitors->Find(inode_of("qmp.sock")).has_value());
  EXPECT_FALSE(monitors->Find(inode_of("virtiofs.sock")).has_value());
}

TEST_F(CommandLinesTest, ReturnsNothingOfOtherProcesses) {
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
