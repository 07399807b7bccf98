// These tests use the kernel's own tracepoints, and need root.

#include "watcher/signals/bpf_trace.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/machine_probe.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"
#include "tests/watcher/runs/as_nobody.h"
#include "tests/watcher/runs/child.h"
#include "tests/watcher/runs/memory_cgroup.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/problem.h"
#include "watcher/signals/boot_clock.h"
#include "watcher/signals/process_reader.h"
#include "watcher/signals/signal_trace.h"
#include "watcher/signals/trace_record.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;

class BpfTraceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNoSignalTrace(); !why.empty()) GTEST_SKIP() << why;
    SignalTracing begun = BeginTrace();
    ASSERT_NE(begun.trace, nullptr) << begun.problem.text;
    trace_ = std::move(begun.trace);
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
  // Returns the only record of a process, and waits for the end of that process.
  SignalRecord RecordOfTheEnd(const Child& victim) {
    victim.AwaitEnd();
    const std::vector<SignalRecord> records = Of(victim.pid());
    EXPECT_EQ(records.size(), 1U);
    return records.empty() ? SignalRecord() : records[0];
  }
  SignalRecord RecordOfAKill(int signal = SIGKILL) {
    const Child victim(Sleep);
    kill(victim.pid(), signal);
    return RecordOfTheEnd(victim);
  }
  SignalSender SenderOf(const SignalRecord& record, pid_t target) {
    return reader_.SenderOf(record, reader_.OriginOf(target, 1), SinceBoot());
  }

  std::shared_ptr<SignalTrace> trace_;
  std::vector<SignalRecord> all_;
  ProcessReader reader_;
};

TEST_F(BpfTraceTest, TheRecordOfADeadlySignalIsReadableOnceTheProcessIsGone) {
  for (int round = 0; round < 30; ++round) {
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGKILL, SIGTERM}) {
      ::signal(signal, SIG_DFL);  // nohup ignores one of them, and a shell in the background two
      const SignalRecord record = RecordOfAKill(signal);
      EXPECT_EQ(record.signal, signal);
      EXPECT_EQ(record.sender, getpid());
      EXPECT_EQ(record.sender_parent, getppid());
      EXPECT_FALSE(record.by_kernel);
    }
  }
}

TEST_F(BpfTraceTest, AKillOfAThreadIsRecordedAsAKillOfItsProcess) {
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
  const SignalRecord record = RecordOfTheEnd(victim);
  EXPECT_EQ(record.signal, SIGKILL);
  EXPECT_EQ(record.sender, getpid());
}

TEST_F(BpfTraceTest, TheSenderHasItsLogin) {
  if (access("/proc/self/loginuid", W_OK) != 0) GTEST_SKIP() << "no /proc/self/loginuid";
  const Child victim(Sleep);
  // A process can be given a login once; its children have it too.
  Child sender([&victim] {
    std::ofstream("/proc/self/loginuid") << 1234 << std::flush;
    kill(victim.pid(), SIGKILL);
    return 0;
  });
  const SignalRecord record = RecordOfTheEnd(victim);
  sender.AwaitEnd();
  EXPECT_EQ(record.sender, sender.pid());
  EXPECT_EQ(record.login_uid, 1234U);
  EXPECT_TRUE(record.login_session.has_value());
  EXPECT_EQ(SenderOf(record, victim.pid()).login_uid, 1234U);
}

TEST_F(BpfTraceTest, OnlySignalsThatEndAProcessAreRecorded) {
  Child victim(Sleep);
  for (const int signal : {SIGSTOP, SIGCONT, SIGCHLD, SIGWINCH, SIGURG}) {
    kill(victim.pid(), signal);
  }
  kill(victim.pid(), SIGTERM);
  victim.AwaitEnd();
  // The process is a zombie: a further signal is ignored.
  kill(victim.pid(), SIGKILL);
  const std::vector<SignalRecord> records = Of(victim.pid());
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].signal, SIGTERM);
}

// Kills `victim` by a process that then ends. Returns its pid, which nobody has any more.
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

TEST_F(BpfTraceTest, ATimersSignalIsNotAttributedToTheProcessThatRanThen) {
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
  int recorded = 0;
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
      // Of the signals that are sent in an interrupt, one in some hundreds has no record.
      for (const SignalRecord& record : Of(victim.pid())) {
        ++recorded;
        EXPECT_EQ(record.signal, signal);
        EXPECT_TRUE(record.by_kernel || record.unclear) << "and of " << record.sender;
      }
    }
  }
  EXPECT_GT(recorded, 0);
  sched_setaffinity(0, sizeof(before), &before);
}

TEST_F(BpfTraceTest, ASenderThatClaimsToBeATimerIsNotTakenForTheKernel) {
  Child victim(Sleep);
  siginfo_t info{};
  info.si_signo = SIGKILL;
  info.si_code = SI_TIMER;
  ASSERT_EQ(syscall(SYS_rt_sigqueueinfo, victim.pid(), SIGKILL, &info), 0);
  const SignalRecord record = RecordOfTheEnd(victim);
  EXPECT_FALSE(record.by_kernel);
  EXPECT_TRUE(record.unclear);
}

TEST_F(BpfTraceTest, ItsDescriptorIsReadableOncePerRecord) {
  Child victim(Sleep);
  pollfd readable{trace_->fd(), POLLIN, 0};
  // Other processes may be sent signals as well.
  Of(victim.pid());
  kill(victim.pid(), SIGKILL);
  ASSERT_EQ(poll(&readable, 1, 10'000), 1);
  EXPECT_EQ(Of(victim.pid()).size(), 1U);
}

TEST_F(BpfTraceTest, AParentDeathSignalIsTheKernelsEvenIfOnlyAThreadEnds) {
  for (const bool thread : {false, true}) {
    int ready[2];
    int started[2];
    ASSERT_EQ(::pipe(ready) + ::pipe(started), 0);
    const auto start = [&] {
      if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        const pid_t self = getpid();
        if (write(ready[1], &self, sizeof(self)) == sizeof(self)) Sleep();
      }
      pid_t pid = 0;
      if (read(ready[0], &pid, sizeof(pid)) != sizeof(pid)) std::abort();
      if (write(started[1], &pid, sizeof(pid)) != sizeof(pid)) std::abort();
    };
    const Child parent([&] {
      if (!thread) {
        start();
        return 0;
      }
      std::thread(start).join();
      return Sleep();
    });
    pid_t victim = 0;
    ASSERT_EQ(read(started[0], &victim, sizeof(victim)), static_cast<ssize_t>(sizeof(victim)));
    for (const int fd : {ready[0], ready[1], started[0], started[1]}) close(fd);
    std::vector<SignalRecord> records;
    e2e::WaitUntil("it is sent", [&] { return !(records = Of(victim)).empty(); });
    ASSERT_EQ(records.size(), 1U);
    EXPECT_TRUE(records[0].by_kernel);
    EXPECT_EQ(records[0].context, 0);
    EXPECT_THAT(records[0].ended_with,
                HasSubstr(absl::StrCat(" (pid ", parent.pid(), ") or a thread of it ended")));
  }
}

// This process sends itself that many signals, which do not end it.
int SignalItself(uint64_t times) {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(SIGHUP, &action, nullptr);
  for (uint64_t i = 0; i < times; ++i) kill(getpid(), SIGHUP);
  return 0;
}

TEST_F(BpfTraceTest, AFloodThatIsNotReadIsLostAndCounted) {
  constexpr uint64_t kSent = 50'000;
  Child deaf([] { return SignalItself(kSent); });
  deaf.AwaitEnd();
  // A lost record is counted before the process is gone.
  const uint64_t lost = trace_->lost();
  const size_t recorded = Of(deaf.pid()).size();
  EXPECT_GT(recorded, 0U);
  EXPECT_LT(recorded, kSent);
  EXPECT_GE(lost, kSent - recorded);
  // Other processes may have lost some.
  EXPECT_LT(lost, 2 * kSent);
  RecordOfAKill();
}

TEST_F(BpfTraceTest, TheVictimsUserAndCgroupAreRecorded) {
  constexpr uid_t kUser = 65534;
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  const Child victim([&pipe] {
    if (setuid(kUser) != 0 || write(pipe[1], "x", 1) != 1) return 1;
    return Sleep();
  });
  char ready = 0;
  ASSERT_EQ(read(pipe[0], &ready, 1), 1);
  close(pipe[0]);
  close(pipe[1]);
  kill(victim.pid(), SIGKILL);
  const SignalRecord record = RecordOfTheEnd(victim);
  ASSERT_TRUE(record.sender_mark.has_value() && record.target_mark.has_value());
  EXPECT_EQ(record.sender_mark->uid, getuid());
  EXPECT_EQ(record.target_mark->uid, kUser);
  EXPECT_NE(record.target_mark->cgroup, 0U);
  EXPECT_EQ(record.target_mark->cgroup, record.sender_mark->cgroup);
}

// The rest of a PID namespace whose first process ends.
TEST_F(BpfTraceTest, AKillByTheKernelHasNoSender) {
  const UniqueFd own(open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(unshare(CLONE_NEWPID), 0) << strerror(errno);
  const Child first(Sleep);
  const Child rest(Sleep);
  ASSERT_EQ(setns(own.get(), CLONE_NEWPID), 0) << strerror(errno);
  EXPECT_EQ(reader_.LeadsNamespace(first.pid()), true);
  EXPECT_EQ(reader_.LeadsNamespace(getpid()), false);
  kill(first.pid(), SIGKILL);
  const SignalRecord record = RecordOfTheEnd(rest);
  EXPECT_TRUE(record.by_kernel);
  EXPECT_EQ(record.sender, 0);
  EXPECT_EQ(record.context, first.pid());
  EXPECT_THAT(record.ended_with, HasSubstr(" ended, which traced it or led its container"));
}

TEST_F(BpfTraceTest, AVictimOfTheOomKillerIsNamed) {
  constexpr size_t kLimit = size_t{16} << 20;
  const MemoryCgroup cgroup(kLimit);
  if (!cgroup.made()) GTEST_SKIP() << "no memory cgroup can be made here";
  const Child victim([&cgroup] {
    if (!cgroup.Add(getpid())) return 1;
    std::vector<char> memory(4 * kLimit, 'x');
    return memory.back() == 'x' ? 0 : 1;
  });
  victim.AwaitEnd();
  const std::vector<SignalRecord> records = Of(victim.pid());
  ASSERT_EQ(records.size(), 2U);
  for (const SignalRecord& record : records) {
    if (record.kind == SignalRecord::Kind::kSignal) {
      EXPECT_TRUE(record.by_kernel);
    } else if (record.victim.total_vm.has_value()) {  // not before Linux 6.9
      EXPECT_GT(*record.victim.total_vm, static_cast<int64_t>(4 * kLimit / 1024));
      EXPECT_GT(*record.victim.anon_rss, static_cast<int64_t>(kLimit / 2 / 1024));
      EXPECT_LT(*record.victim.anon_rss, *record.victim.total_vm);
    }
  }
  EXPECT_NE(records[0].kind, records[1].kind);
}

std::vector<UniqueFd> CopiesOf(const SignalTrace& trace) {
  std::vector<UniqueFd> copies;
  for (const int fd : trace.descriptors()) copies.emplace_back(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  return copies;
}

TEST_F(BpfTraceTest, AnotherProcessResumesItByItsDescriptorsWithoutALoss) {
  std::vector<UniqueFd> copies = CopiesOf(*trace_);
  Child before(Sleep);
  kill(before.pid(), SIGKILL);
  RecordOfTheEnd(before);
  trace_.reset();
  Child between(Sleep);
  const pid_t sender = KillByOneThatIsGone(between.pid());
  between.AwaitEnd();
  absl::StatusOr<std::unique_ptr<SignalTrace>> next = ResumeTrace(std::move(copies));
  ASSERT_TRUE(next.ok()) << next.status();
  trace_ = *std::move(next);
  all_.clear();
  const std::vector<SignalRecord> records = Of(between.pid());
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].sender, sender);
  EXPECT_TRUE(records[0].sender_mark.has_value() && records[0].target_mark.has_value());
  EXPECT_TRUE(Of(before.pid()).empty()) << "it was read before";
  RecordOfAKill();
}

TEST_F(BpfTraceTest, DescriptorsOfAnotherKindAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(ResumeTrace({}).status()));
  std::vector<UniqueFd> some = CopiesOf(*trace_);
  some.pop_back();
  EXPECT_TRUE(absl::IsInvalidArgument(ResumeTrace(std::move(some)).status()));
  for (const size_t map : {0, 1}) {
    some = CopiesOf(*trace_);
    some[map] = UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC));
    EXPECT_FALSE(ResumeTrace(std::move(some)).ok()) << map;
  }
}

TEST_F(BpfTraceTest, WithoutACapabilityTheErrorNamesIt) {
  const AsNobody nobody;
  const SignalTracing begun = BeginTrace();
  ASSERT_EQ(begun.trace, nullptr);
  EXPECT_EQ(ToProto(begun.problem).code(), v1::PROBLEM_CODE_NO_CAPABILITY);
  EXPECT_THAT(begun.problem.text, HasSubstr("(vmeventd has no CAP_BPF and CAP_PERFMON)"));
}

// Returns the code of the problem that a child has after `prepare` in it.
template <typename Prepare>
v1::ProblemCode CodeAfter(const std::string& root, const Prepare& prepare) {
  const pid_t child = fork();
  if (child == 0) {
    prepare();
    _exit(ToProto(BeginTrace(root).problem).code());
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << status;
  return static_cast<v1::ProblemCode>(WEXITSTATUS(status));
}

// From now on, bpf(2) fails with `error` in this process.
void ForbidBpf(int error) {
  std::array<sock_filter, 4> program = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{program.size(), program.data()};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) std::abort();
}

TEST_F(BpfTraceTest, EachFailureHasItsProblemCode) {
  EXPECT_EQ(CodeAfter("", [] { ForbidBpf(EPERM); }), v1::PROBLEM_CODE_SECCOMP);
  EXPECT_EQ(CodeAfter("", [] { ForbidBpf(EINVAL); }), v1::PROBLEM_CODE_CANNOT_TRACE);
  EXPECT_EQ(CodeAfter("",
                      [] {
                        if (unshare(CLONE_NEWUSER) != 0) std::abort();
                      }),
            v1::PROBLEM_CODE_USER_NAMESPACE);
  TemporaryDirectory root;
  std::filesystem::create_symlink("pid:[4026531836]", root.MakeDirectory("proc/self/ns") + "/pid");
  std::filesystem::create_symlink("/sys/kernel/btf/vmlinux",
                                  root.MakeDirectory("sys/kernel/btf") + "/vmlinux");
  std::ofstream(root.MakeDirectory("sys/kernel/security") + "/lockdown")
      << "none integrity [confidentiality]";
  EXPECT_EQ(CodeAfter(root.path(), [] { ForbidBpf(EINVAL); }), v1::PROBLEM_CODE_KERNEL_LOCKDOWN);
}

TEST(BpfTraceErrorTest, AKernelWithoutBtfIsNamedInTheError) {
  TemporaryDirectory root;
  std::filesystem::create_symlink("pid:[4026531836]", root.MakeDirectory("proc/self/ns") + "/pid");
  const Problem missing = BeginTrace(root.path()).problem;
  EXPECT_EQ(ToProto(missing).code(), v1::PROBLEM_CODE_NO_KERNEL_TYPES);
  EXPECT_THAT(missing.text,
              HasSubstr(root / "sys/kernel/btf/vmlinux: No such file or directory (it needs a "
                               "kernel with CONFIG_DEBUG_INFO_BTF)"));
  root.MakeDirectory("sys/kernel/btf");
  std::ofstream(root / "sys/kernel/btf/vmlinux") << "no BTF";
  EXPECT_THAT(BeginTrace(root.path()).problem.text,
              HasSubstr("cannot read the kernel's types (BTF)"));
}

TEST(BpfTraceErrorTest, AForeignPidNamespaceIsRefused) {
  TemporaryDirectory root;
  std::filesystem::create_symlink("pid:[4026532000]", root.MakeDirectory("proc/self/ns") + "/pid");
  const SignalTracing begun = BeginTrace(root.path());
  ASSERT_EQ(begun.trace, nullptr);
  EXPECT_EQ(ToProto(begun.problem).code(), v1::PROBLEM_CODE_PID_NAMESPACE);
  EXPECT_THAT(begun.problem.text, HasSubstr("host's PID namespace"));
}

TraceRecord Signal(int code, uint32_t sender = 812) {
  return {.sender = {.pid = sender}, .kind = TRACE_SIGNAL, .signal = SIGKILL, .code = code};
}

TEST(TraceRecordTest, TheKernelIsKnownByTheCodeOrByHavingNoProcess) {
  const struct {
    uint32_t pid;
    int code;
    bool by_kernel;
    bool unclear;
  } kCases[] = {{812, SI_KERNEL, true, false},
                {812, POLL_HUP, true, false},
                {0, SI_USER, true, false},
                {0, SI_TIMER, true, false},
                {812, SI_USER, false, false},
                {812, SI_QUEUE, false, false},
                {812, SI_TKILL, false, false},
                // Sent in an interrupt, or by rt_sigqueueinfo(2).
                {812, SI_TIMER, false, true},
                {812, SI_MESGQ, false, true},
                {812, SI_ASYNCIO, false, true},
                {812, SI_SIGIO, false, true},
                {812, SI_DETHREAD, false, true},
                {812, -1000, false, true}};
  for (const auto& expected : kCases) {
    const SignalRecord record = Decode(Signal(expected.code, expected.pid));
    EXPECT_EQ(record.by_kernel, expected.by_kernel) << expected.pid << " " << expected.code;
    EXPECT_EQ(record.unclear, expected.unclear) << expected.pid << " " << expected.code;
    EXPECT_EQ(record.sender, expected.by_kernel ? 0 : 812);
  }
}

TEST(TraceRecordTest, ASignalThatAnExitingProcessCausedIsTheKernels) {
  TraceRecord record = Signal(SI_USER);
  std::memcpy(record.sender_comm, "a\nb", 3);
  record.sender_flags = 0x4 | 0x400000;
  EXPECT_TRUE(Decode(record).by_kernel);
  EXPECT_EQ(Decode(record).ended_with,
            "its parent a\\x0ab (pid 812) or a thread of it ended (its death signal)");
  record.sender_flags = 0x400000;
  EXPECT_FALSE(Decode(record).by_kernel);
  EXPECT_EQ(Decode(record).ended_with, "");
}

TEST(TraceRecordTest, AKernelsKillInAnExitingProcessNamesThatProcess) {
  TraceRecord record = Signal(SI_KERNEL);
  std::memcpy(record.sender_comm, "gdb", 3);
  EXPECT_EQ(Decode(record).ended_with, "");
  record.sender_flags = 0x4;
  EXPECT_EQ(Decode(record).ended_with, "gdb (pid 812) ended, which traced it or led its container");
  record.target.pid = record.sender.pid;
  EXPECT_EQ(Decode(record).ended_with, "") << "its own, as of a core";
}

TEST(TraceRecordTest, ACommandNameMayFillItsWholeField) {
  TraceRecord record = Signal(SI_USER);
  std::memset(record.sender_comm, 'x', sizeof(record.sender_comm));
  EXPECT_EQ(Decode(record).sender_comm, std::string(16, 'x'));
}

}  // namespace
}  // namespace vmeventd
