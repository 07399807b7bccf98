// Against the kernel's own tracepoints: needs root.

#include "watcher/signals/perf_trace.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"
#include "tests/watcher/runs/child.h"
#include "watcher/signals/sender.h"

namespace vmeventd {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

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

  // In the place of the machine's own list.
  void ListProcessors(const std::string& list) const {
    if (std::filesystem::is_symlink(directory_ / "sys/devices")) {
      std::filesystem::remove(directory_ / "sys/devices");
    }
    std::ofstream(directory_.MakeDirectory("sys/devices/system/cpu") + "/online") << list << "\n";
  }

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

std::string StatusOf(pid_t pid) {
  return ReadSmallFile(absl::StrCat("/proc/", pid, "/status")).value_or("");
}

// The processes of this thread's own that open events.
std::vector<pid_t> Openers() {
  const std::string children =
      ReadSmallFile(absl::StrCat("/proc/self/task/", gettid(), "/children")).value_or("");
  std::vector<pid_t> out;
  for (const absl::string_view each : absl::StrSplit(children, ' ', absl::SkipWhitespace())) {
    pid_t pid = 0;
    if (absl::SimpleAtoi(each, &pid) &&
        absl::StrContains(StatusOf(pid), "Name:\tvmeventd-perf\n")) {
      out.push_back(pid);
    }
  }
  return out;
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
  // Reads whatever wakes the reader until `condition` holds.
  void AwaitNews(const std::function<bool()>& condition) {
    pollfd readable{trace_->fd(), POLLIN, 0};
    while (!condition()) {
      ASSERT_EQ(poll(&readable, 1, 60'000), 1);
      trace_->Read(&all_);
    }
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

TEST_F(PerfTraceTest, TheProcessThatOpensEventsHasThatRightAloneAndNothingOpen) {
  const std::vector<pid_t> openers = Openers();
  ASSERT_EQ(openers.size(), 1U);
  const std::string status = StatusOf(openers[0]);
  const std::string perfmon = "\t0000004000000000\n";
  EXPECT_THAT(status, AllOf(HasSubstr("Name:\tvmeventd-perf\n"), HasSubstr("CapPrm:" + perfmon),
                            HasSubstr("CapEff:" + perfmon), HasSubstr("CapInh:\t0000000000000000"),
                            HasSubstr("CapAmb:\t0000000000000000"), HasSubstr("NoNewPrivs:\t1\n"),
                            HasSubstr("Seccomp:\t2\n")));
  // It closes what it has passed after it has passed it.
  const absl::Time deadline = absl::Now() + absl::Minutes(1);
  std::vector<std::string> open;
  do {
    ASSERT_LT(absl::Now(), deadline) << absl::StrJoin(open, ", ");
    open.clear();
    const std::string directory = absl::StrCat("/proc/", openers[0], "/fd");
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      std::error_code closed;
      open.push_back(std::filesystem::read_symlink(entry.path(), closed).string());
    }
  } while (open.size() != 1);
  EXPECT_THAT(open[0], StartsWith("socket:"));
}

TEST_F(PerfTraceTest, WhereTheProcessThatOpensEventsEndsTheRingsStay) {
  ASSERT_EQ(Openers().size(), 1U);
  const pid_t opener = Openers()[0];
  kill(opener, SIGKILL);
  AwaitNews([&] { return !trace_->problem().empty(); });
  EXPECT_THAT(trace_->problem(), StartsWith(absl::StrCat("vmeventd-perf (pid ", opener,
                                                         ") has ended, by signal 9: ")));
  EXPECT_TRUE(Openers().empty());
  Child victim(Sleep);
  kill(victim.pid(), SIGKILL);
  victim.AwaitEnd();
  EXPECT_EQ(Of(victim.pid()).size(), 1U);
  trace_->FollowProcessors();
  EXPECT_THAT(trace_->problem(), StartsWith("vmeventd-perf"));
}

TEST_F(PerfTraceTest, TheProcessThatOpensEventsEndsWithTheTrace) {
  ASSERT_EQ(Openers().size(), 1U);
  trace_.reset();
  EXPECT_TRUE(Openers().empty());
}

TEST_F(PerfTraceTest, TheProcessThatOpensEventsEndsWithTheOneThatStartedIt) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  Child starter([&] {
    const auto trace = OpenPerfTrace(root_.path());
    const std::vector<pid_t> openers = Openers();
    const pid_t opener = openers.empty() ? 0 : openers.back();
    if (write(to.get(), &opener, sizeof(opener)) != sizeof(opener)) return 1;
    return Sleep();
  });
  to.Reset();
  pid_t opener = 0;
  ASSERT_EQ(read(from.get(), &opener, sizeof(opener)), sizeof(opener));
  ASSERT_GT(opener, 0);
  const UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, opener, 0)));
  ASSERT_TRUE(pidfd.valid());
  kill(starter.pid(), SIGKILL);
  pollfd ended{pidfd.get(), POLLIN, 0};
  EXPECT_EQ(poll(&ended, 1, 10'000), 1);
}

// With a list of processors that a test writes: to vmeventd they come and go, and to the kernel
// they are there.
class ProcessorsTest : public PerfTraceTest {
 protected:
  void SetUp() override {
    if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "needs two processors";
    root_.ListProcessors("0");
    PerfTraceTest::SetUp();
  }

  // Whether a kill by a process on `processor` is recorded.
  bool SeesAKillOn(int processor) {
    const Child victim(Sleep);
    const Child killer([&] {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(processor, &one);
      if (sched_setaffinity(0, sizeof(one), &one) != 0) return 1;
      kill(victim.pid(), SIGKILL);
      return 0;
    });
    victim.AwaitEnd();
    return Of(victim.pid()).size() == 1;
  }
};

TEST_F(ProcessorsTest, OneThatComesLaterIsRecordedWithoutTheRight) {
  EXPECT_TRUE(SeesAKillOn(0));
  EXPECT_FALSE(SeesAKillOn(1));
  root_.ListProcessors("0-1");
  {
    const AsNobody nobody;
    if (!nobody.possible()) GTEST_SKIP() << "needs root";
    trace_->FollowProcessors();
    EXPECT_THAT(trace_->problem(), StartsWith("processor 1 has come just now"));
    AwaitNews([&] { return trace_->problem().empty(); });
  }
  EXPECT_TRUE(SeesAKillOn(0));
  EXPECT_TRUE(SeesAKillOn(1));
  EXPECT_EQ(trace_->CountLost(), 0U);
}

TEST_F(ProcessorsTest, WhatWasRecordedOnOneThatGoesIsStillRead) {
  root_.ListProcessors("0-1");
  trace_->FollowProcessors();
  AwaitNews([&] { return trace_->problem().empty(); });
  const Child victim(Sleep);
  const Child killer([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(1, &one);
    if (sched_setaffinity(0, sizeof(one), &one) != 0) return 1;
    kill(victim.pid(), SIGKILL);
    return 0;
  });
  victim.AwaitEnd();
  root_.ListProcessors("0");
  trace_->FollowProcessors();
  EXPECT_EQ(Of(victim.pid()).size(), 1U);
  EXPECT_FALSE(SeesAKillOn(1));
}

TEST_F(ProcessorsTest, OneThatCannotBeRecordedIsNamedUntilItGoes) {
  root_.ListProcessors("0,4095");
  trace_->FollowProcessors();
  AwaitNews([&] { return !absl::StrContains(trace_->problem(), "just now"); });
  EXPECT_THAT(trace_->problem(), StartsWith("perf_event_open on processor 4095: "));
  root_.ListProcessors("0");
  trace_->FollowProcessors();
  EXPECT_EQ(trace_->problem(), "");
}

TEST_F(ProcessorsTest, OneThatComesAfterTheOpenerEndedIsAProblemThatIsNamed) {
  kill(Openers().at(0), SIGKILL);
  root_.ListProcessors("0-1");
  AwaitNews([&] { return !trace_->problem().empty(); });
  trace_->FollowProcessors();
  EXPECT_THAT(trace_->problem(), StartsWith("vmeventd-perf (pid "));
  EXPECT_TRUE(SeesAKillOn(0));
}

// A processor of the machine, which is back at the end.
class Processor {
 public:
  explicit Processor(int number)
      : file_(absl::StrCat("/sys/devices/system/cpu/cpu", number, "/online")) {}
  ~Processor() { Set(true); }
  Processor(const Processor&) = delete;
  Processor& operator=(const Processor&) = delete;

  bool Set(bool online) const {
    std::ofstream file(file_);
    file << (online ? 1 : 0) << std::flush;
    return file.good();
  }

 private:
  const std::string file_;
};

TEST_F(ProcessorsTest, OneThatTheKernelTakesAndBringsBackIsRecordedAgain) {
  if (std::getenv("VMEVENTD_TEST_HOTPLUG") == nullptr) {
    GTEST_SKIP() << "takes a processor from the machine for a moment: VMEVENTD_TEST_HOTPLUG=1";
  }
  root_.ListProcessors("0-1");
  trace_->FollowProcessors();
  AwaitNews([&] { return trace_->problem().empty(); });
  ASSERT_TRUE(SeesAKillOn(1));
  {
    const Processor processor(1);
    ASSERT_TRUE(processor.Set(false));
    ASSERT_TRUE(processor.Set(true));
  }
  // Nobody looks: the kernel says it.
  const absl::Time deadline = absl::Now() + absl::Minutes(1);
  while (!SeesAKillOn(1)) ASSERT_LT(absl::Now(), deadline);
  EXPECT_EQ(trace_->problem(), "");
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
