// Against the kernel's own tracepoints: needs root.

#include "watcher/signals/perf_trace.h"

#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"
#include "tests/watcher/runs/child.h"
#include "watcher/signals/sender.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;

// The machine's /proc and /sys, with the kernel's tracefs in its place.
class TracedRoot {
 public:
  TracedRoot() {
    std::filesystem::permissions(directory_.path(), std::filesystem::perms(0755));
    std::filesystem::create_symlink("/proc", directory_ / "proc");
    directory_.MakeDirectory("sys/kernel");
    std::filesystem::create_symlink("/sys/devices", directory_ / "sys/devices");
    tracing_ = directory_.MakeDirectory("sys/kernel/tracing");
    if (mount("tracefs", tracing_.c_str(), "tracefs", 0, nullptr) != 0) problem_ = strerror(errno);
  }
  ~TracedRoot() { umount2(tracing_.c_str(), MNT_DETACH); }
  TracedRoot(const TracedRoot&) = delete;
  TracedRoot& operator=(const TracedRoot&) = delete;

  const std::string& path() const { return directory_.path(); }
  const std::string& problem() const { return problem_; }

 private:
  TemporaryDirectory directory_;
  std::string tracing_;
  std::string problem_;
};

// Linux 6.0 and later.
bool KernelCountsLost() {
  utsname kernel{};
  uname(&kernel);
  return std::atoi(kernel.release) >= 6;
}

class PerfTraceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!root_.problem().empty()) GTEST_SKIP() << "tracefs: " << root_.problem();
    absl::StatusOr<std::unique_ptr<SignalTrace>> trace = OpenPerfTrace(root_.path());
    if (absl::StrContains(trace.status().message(), "CAP_PERFMON") ||
        absl::StrContains(trace.status().message(), "PID namespace")) {
      GTEST_SKIP() << trace.status();
    }
    ASSERT_TRUE(trace.ok()) << trace.status();
    trace_ = *std::move(trace);
  }

  // What was recorded of `pid`.
  std::vector<SignalRecord> Of(pid_t pid) {
    trace_->Read(&all_);
    std::vector<SignalRecord> out;
    for (const SignalRecord& record : all_) {
      if (record.target == pid) out.push_back(record);
    }
    return out;
  }
  SignalSender SenderOf(const SignalRecord& record, pid_t target) {
    return reader_.SenderOf(record, reader_.OriginOf(target, 1), SinceBoot());
  }

  TracedRoot root_;
  std::unique_ptr<SignalTrace> trace_;
  std::vector<SignalRecord> all_;
  ProcessReader reader_;
};

TEST_F(PerfTraceTest, TheRecordIsThereWhenTheProcessIsGone) {
  for (int round = 0; round < 200; ++round) {
    Child victim(Sleep);
    kill(victim.pid(), SIGKILL);
    victim.AwaitEnd();
    const std::vector<SignalRecord> records = Of(victim.pid());
    ASSERT_EQ(records.size(), 1U) << round;
    EXPECT_EQ(records[0].signal, SIGKILL);
    EXPECT_EQ(records[0].sender, getpid());
    EXPECT_FALSE(records[0].by_kernel);
  }
}

TEST_F(PerfTraceTest, ASenderIsReadAndNotTakenForTheVictimsOwn) {
  Child victim(Sleep);
  kill(victim.pid(), SIGKILL);
  const std::vector<SignalRecord> records = Of(victim.pid());
  ASSERT_EQ(records.size(), 1U);
  const SignalSender sender = SenderOf(records[0], victim.pid());
  EXPECT_EQ(sender.pid, getpid());
  EXPECT_EQ(sender.uid, getuid());
  EXPECT_EQ(sender.executable.str(), std::filesystem::read_symlink("/proc/self/exe").string());
}

TEST_F(PerfTraceTest, AKillOfAThreadIsOneOfItsProcessAlsoWhereThatIsGone) {
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  Child victim([&pipe] {
    std::thread thread([&pipe] {
      const pid_t self = gettid();
      if (write(pipe[1], &self, sizeof(self)) == sizeof(self)) Sleep();
    });
    thread.join();
    return 0;
  });
  pid_t thread = 0;
  ASSERT_EQ(read(pipe[0], &thread, sizeof(thread)), static_cast<ssize_t>(sizeof(thread)));
  close(pipe[0]);
  close(pipe[1]);
  ASSERT_NE(thread, victim.pid());
  ASSERT_EQ(syscall(SYS_tkill, thread, SIGKILL), 0);
  victim.AwaitEnd();
  const std::vector<SignalRecord> records = Of(victim.pid());
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].signal, SIGKILL);
  EXPECT_EQ(records[0].sender, getpid());
}

TEST_F(PerfTraceTest, OnlySignalsThatEndAProcessAreRecorded) {
  Child victim(Sleep);
  for (const int signal : {SIGSTOP, SIGCONT, SIGCHLD, SIGWINCH, SIGURG}) {
    kill(victim.pid(), signal);
  }
  kill(victim.pid(), SIGTERM);
  victim.AwaitEnd();
  // It is a zombie: a further signal is ignored.
  kill(victim.pid(), SIGKILL);
  const std::vector<SignalRecord> records = Of(victim.pid());
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].signal, SIGTERM);
}

TEST_F(PerfTraceTest, EachSignalThatEndsAProcessIsRecorded) {
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGKILL, SIGTERM}) {
    Child victim(Sleep);
    kill(victim.pid(), signal);
    victim.AwaitEnd();
    const std::vector<SignalRecord> records = Of(victim.pid());
    ASSERT_EQ(records.size(), 1U) << signal;
    EXPECT_EQ(records[0].signal, signal);
  }
}

// Returns the process that did it, which nobody has any more.
pid_t KillByOneThatIsGone(pid_t victim) {
  Child killer([victim] {
    kill(victim, SIGKILL);
    return 0;
  });
  const pid_t sender = killer.pid();
  killer.AwaitEnd();
  killer.Reap();
  return sender;
}

TEST_F(PerfTraceTest, ASenderThatIsGoneAtOnceHasItsPid) {
  Child victim(Sleep);
  const pid_t sender = KillByOneThatIsGone(victim.pid());
  victim.AwaitEnd();
  const std::vector<SignalRecord> records = Of(victim.pid());
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].sender, sender);
  EXPECT_FALSE(SenderOf(records[0], victim.pid()).uid.has_value());
}

// A process with that number, which no other has.
pid_t ForkAs(pid_t pid) {
  clone_args arguments{};
  arguments.exit_signal = SIGCHLD;
  arguments.set_tid = reinterpret_cast<uint64_t>(&pid);
  arguments.set_tid_size = 1;
  return static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof(arguments)));
}

TEST_F(PerfTraceTest, AProcessThatHasTheSendersNumberSinceIsNotIt) {
  Child victim(Sleep);
  const pid_t sender = KillByOneThatIsGone(victim.pid());
  const pid_t other = ForkAs(sender);
  if (other == 0) _exit(Sleep());
  ASSERT_EQ(other, sender) << strerror(errno);
  victim.AwaitEnd();
  const std::vector<SignalRecord> records = Of(victim.pid());
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].sender, sender);
  // They may have begun in the same tick: it is read after that.
  const SignalSender read = reader_.SenderOf(records[0], reader_.OriginOf(victim.pid(), 1),
                                             SinceBoot() + absl::Seconds(1));
  EXPECT_EQ(read.pid, sender);
  EXPECT_FALSE(read.uid.has_value());
  EXPECT_TRUE(read.command.empty());
  kill(other, SIGKILL);
  waitpid(other, nullptr, 0);
}

TEST_F(PerfTraceTest, ATimersSignalIsTheKernelsWhateverRanThen) {
  cpu_set_t before;
  cpu_set_t one;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  Child other([] {  // runs when the timer does
    while (true) sched_yield();
    return 0;
  });
  for (const int signal : {SIGKILL, SIGTERM}) {
    for (int round = 0; round < 5; ++round) {
      Child victim([signal] {
        sigevent event{};
        event.sigev_notify = SIGEV_SIGNAL;
        event.sigev_signo = signal;
        timer_t timer{};
        if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) return 1;
        itimerspec soon{};
        soon.it_value.tv_nsec = 5'000'000;
        if (timer_settime(timer, 0, &soon, nullptr) != 0) return 1;
        return Sleep();
      });
      victim.AwaitEnd();
      const std::vector<SignalRecord> records = Of(victim.pid());
      ASSERT_EQ(records.size(), 1U);
      EXPECT_EQ(records[0].signal, signal);
      EXPECT_TRUE(records[0].by_kernel) << "and not of " << records[0].sender;
    }
  }
  sched_setaffinity(0, sizeof(before), &before);
}

TEST_F(PerfTraceTest, ASenderThatClaimsToBeATimerIsTheSender) {
  Child victim(Sleep);
  siginfo_t info{};
  info.si_signo = SIGKILL;
  info.si_code = SI_TIMER;
  ASSERT_EQ(syscall(SYS_rt_sigqueueinfo, victim.pid(), SIGKILL, &info), 0);
  victim.AwaitEnd();
  const std::vector<SignalRecord> records = Of(victim.pid());
  ASSERT_EQ(records.size(), 1U);
  EXPECT_FALSE(records[0].by_kernel);
  EXPECT_EQ(records[0].sender, getpid());
}

TEST_F(PerfTraceTest, TheVictimsOwnChildIsItsOwn) {
  Child victim([] {
    const pid_t parent = getpid();
    if (fork() == 0) {
      prctl(PR_SET_NAME, "a\nb");
      kill(parent, SIGKILL);
      pause();
    }
    return Sleep();
  });
  victim.AwaitEnd();
  const std::vector<SignalRecord> records = Of(victim.pid());
  ASSERT_EQ(records.size(), 1U);
  const ProcessOrigin origin{.pid = victim.pid(), .start_ticks = 1, .uid = getuid()};
  const SignalSender sender = reader_.SenderOf(records[0], origin, SinceBoot());
  EXPECT_EQ(sender.command.str(), "a\\x0ab");
  kill(static_cast<pid_t>(sender.pid), SIGKILL);
}

TEST_F(PerfTraceTest, ItsDescriptorIsReadableOncePerRecord) {
  Child victim(Sleep);
  pollfd readable{trace_->fd(), POLLIN, 0};
  // Other processes may be sent signals as well.
  Of(victim.pid());
  kill(victim.pid(), SIGKILL);
  ASSERT_EQ(poll(&readable, 1, 10'000), 1);
  EXPECT_EQ(Of(victim.pid()).size(), 1U);
}

TEST_F(PerfTraceTest, AFloodThatIsNotReadIsLostAndCounted) {
  // One ring for all that follows.
  cpu_set_t before;
  cpu_set_t one;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  Child deaf([] {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigaction(SIGHUP, &action, nullptr);
    for (int i = 0; i < 200'000; ++i) kill(getpid(), SIGHUP);
    return 0;
  });
  deaf.AwaitEnd();
  const size_t recorded = Of(deaf.pid()).size();
  EXPECT_GT(recorded, 0U);
  EXPECT_LT(recorded, 200'000U);
  // The kernel counts them before it says so; what it said is not counted twice.
  if (KernelCountsLost()) {
    EXPECT_GE(trace_->CountLost(), 200'000U - recorded);
  }
  // With the next record it says how many are missing before it.
  Child after(Sleep);
  kill(after.pid(), SIGKILL);
  after.AwaitEnd();
  EXPECT_EQ(Of(after.pid()).size(), 1U);
  // Other processes may have lost some as well.
  EXPECT_GE(trace_->lost(), 200'000U - recorded);
  EXPECT_LT(trace_->lost(), 300'000U);
  EXPECT_EQ(trace_->CountLost(), trace_->lost());
  sched_setaffinity(0, sizeof(before), &before);
}

TEST_F(PerfTraceTest, ProcessorsThatHaveARingNeedNoRight) {
  const AsNobody nobody;
  if (!nobody.possible()) GTEST_SKIP() << "needs root";
  EXPECT_EQ(trace_->FollowProcessors(), "");
}

TEST_F(PerfTraceTest, WithoutTheRightItSaysWhichOne) {
  const AsNobody nobody;
  if (!nobody.possible()) GTEST_SKIP() << "needs root";
  const auto trace = OpenPerfTrace(root_.path());
  ASSERT_FALSE(trace.ok());
}

TEST(PerfTraceErrorTest, WithoutTracefsItSaysSo) {
  TemporaryDirectory root;
  std::filesystem::create_symlink("/proc", root / "proc");
  const auto trace = OpenPerfTrace(root.path());
  ASSERT_FALSE(trace.ok());
  const bool host = std::filesystem::read_symlink("/proc/self/ns/pid") == "pid:[4026531836]";
  EXPECT_THAT(trace.status().message(), HasSubstr(host ? "no tracefs" : "PID namespace"));
}

TEST(PerfTraceErrorTest, AForeignPidNamespaceIsRefused) {
  TemporaryDirectory root;
  std::filesystem::create_symlink("pid:[4026532000]", root.MakeDirectory("proc/self/ns") + "/pid");
  const auto trace = OpenPerfTrace(root.path());
  ASSERT_FALSE(trace.ok());
  EXPECT_THAT(trace.status().message(), HasSubstr("host's PID namespace"));
}

}  // namespace
}  // namespace vmeventd
