#include "watcher/runs/process.h"

#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/process_state.h"
#include "tests/support/test_util.h"
#include "tests/support/unix_socket.h"
#include "tests/watcher/runs/child.h"
#include "watcher/core/qemu_arguments.h"
#include "watcher/runs/command_line_read.h"
#include "watcher/runs/command_lines.h"
#include "watcher/signals/process_reader.h"

namespace vmeventd {
namespace {

// The text of a stat file whose fields have their numbers as values.
std::string StatText(const std::string& name, int last) {
  std::string text = "7 (" + name + ") Z";
  for (int field = 4; field <= last; ++field) text += " " + std::to_string(field);
  return text + "\n";
}

TEST(ParseProcessStatTest, ReadsTheFieldsWhateverTheNameIs) {
  for (const char* name : {"init", "a) S 1 (b\n) ) 9x)", ""}) {
    const std::optional<ProcessStat> stat = ParseProcessStat(StatText(name, 52));
    ASSERT_TRUE(stat.has_value()) << name;
    EXPECT_EQ(stat->pid, 7);
    EXPECT_EQ(stat->name, name);
    EXPECT_TRUE(stat->ended());
    EXPECT_EQ(stat->parent, 4);
    EXPECT_EQ(stat->session, 6);
    EXPECT_EQ(stat->flags, 9u);
    EXPECT_EQ(stat->start_ticks, 22u);
    EXPECT_EQ(stat->exit_code, 52);
  }
  EXPECT_EQ(ParseProcessStat(StatText("init", 51))->exit_code, std::nullopt) << "before Linux 3.5";
}

TEST(ParseProcessStatTest, RefusesOtherText) {
  for (const char* text : {"", "1 (init) S 1 2 3", "1 init S 1 2 3", ") (", "x (init) S 1 2 3"}) {
    EXPECT_EQ(ParseProcessStat(text).has_value(), false) << text;
  }
  EXPECT_FALSE(ParseProcessStat(StatText("init", 21)).has_value());
}

bool Readable(const UniqueFd& fd) {
  pollfd poll_fd{fd.get(), POLLIN, 0};
  return poll(&poll_fd, 1, -1) == 1;
}

TEST(ProcessTest, IdentifiesTheProcessBehindASocket) {
  TempDir directory;
  FakeQemu qemu;
  qemu.AddMonitor(directory.Path("m"));
  const UniqueFd connection(e2e::ConnectUnix(directory.Path("m")));
  const auto peer = IdentifyPeer(connection.get());
  ASSERT_TRUE(peer.ok()) << peer.status();
  EXPECT_EQ(peer->kind, PeerProcess::Kind::kTracked);
  EXPECT_EQ(peer->pid, qemu.pid());
  const absl::Duration age = absl::Now() - ProcessStartTime(peer->start_ticks);
  EXPECT_LT(absl::AbsDuration(age), absl::Minutes(5));
  EXPECT_EQ(IdentifyByPid(qemu.pid())->start_ticks, peer->start_ticks);

  qemu.Kill(SIGKILL);
  EXPECT_TRUE(Readable(peer->pidfd));
}

TEST(ProcessTest, AZombieIsGoneAndSoIsAReapedProcess) {
  TempDir directory;
  FakeQemu qemu;
  qemu.AddMonitor(directory.Path("m"));
  const UniqueFd connection(e2e::ConnectUnix(directory.Path("m")));
  const pid_t pid = qemu.pid();
  qemu.Kill(SIGKILL);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(IdentifyPeer(connection.get())->kind, PeerProcess::Kind::kGone);
  EXPECT_EQ(IdentifyByPid(pid)->kind, PeerProcess::Kind::kGone);
  qemu.Reap();
  EXPECT_EQ(IdentifyPeer(connection.get())->kind, PeerProcess::Kind::kGone);
  EXPECT_EQ(IdentifyByPid(pid)->kind, PeerProcess::Kind::kGone);
}

TEST(ProcessTest, FindsAProcessAgainByItsStartTime) {
  FakeQemu qemu;
  const uint64_t start_ticks = IdentifyByPid(qemu.pid())->start_ticks;
  ASSERT_NE(start_ticks, 0u);
  const absl::StatusOr<PeerProcess> found = IdentifyAgain(qemu.pid(), start_ticks);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->kind, PeerProcess::Kind::kTracked);
  EXPECT_EQ(IdentifyAgain(qemu.pid(), start_ticks + 1)->kind, PeerProcess::Kind::kGone);
  EXPECT_EQ(IdentifyAgain(qemu.pid(), 0)->kind, PeerProcess::Kind::kTracked) << "not known then";
  qemu.Kill(SIGKILL);
  ASSERT_TRUE(Readable(found->pidfd));
  EXPECT_EQ(IdentifyAgain(qemu.pid(), start_ticks)->kind, PeerProcess::Kind::kGone) << "a zombie";
  const pid_t pid = qemu.pid();
  qemu.Reap();
  EXPECT_EQ(IdentifyAgain(pid, start_ticks)->kind, PeerProcess::Kind::kGone);
  EXPECT_EQ(IdentifyAgain(-7, start_ticks)->kind, PeerProcess::Kind::kGone);
}

TEST(ProcessTest, AThreadsNumberIsNoProcess) {
  std::atomic<pid_t> number = 0;
  std::atomic<bool> over = false;
  std::thread thread([&] {
    number = gettid();
    number.notify_all();
    over.wait(false);
  });
  number.wait(0);
  EXPECT_EQ(IdentifyAgain(number, 1)->kind, PeerProcess::Kind::kGone);
  over = true;
  over.notify_all();
  thread.join();
}

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

  CommandLines lines_;
  std::shared_ptr<const CommandLineRead> read_;
};

TEST_F(CommandLinesTest, SaysWhatAQemuWasStartedWith) {
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
  const TempDir directory;
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

TEST_F(CommandLinesTest, SaysNothingOfOtherProcesses) {
  EXPECT_EQ(Find(getpid()), nullptr);
  Child ended([] { return 0; });
  const pid_t pid = ended.pid();
  ended.AwaitEnd();
  EXPECT_EQ(Find(pid), nullptr);
  ended.Reap();
  EXPECT_EQ(Find(pid), nullptr);
}

TEST(ProcessTest, ThreadsAreDescribedByTheirStates) {
  const Child child(Sleep);
  kill(child.pid(), SIGSTOP);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child.pid()), &info, WSTOPPED | WNOWAIT), 0);
  // ThreadSanitizer may have a thread of its own in the child.
  EXPECT_THAT(DescribeThreads(child.pid()), testing::AnyOf("1 T (stopped)", "2 T (stopped)"));
  kill(child.pid(), SIGKILL);
  child.AwaitEnd();
  EXPECT_EQ(DescribeThreads(child.pid()), "1 Z (ended)");
  EXPECT_EQ(DescribeThreads(0), "");
}

}  // namespace
}  // namespace vmeventd
