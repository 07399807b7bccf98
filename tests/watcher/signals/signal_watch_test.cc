#include "watcher/signals/signal_watch.h"

#include <sys/eventfd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/manual_clock.h"
#include "tests/support/temporary_directory.h"
#include "watcher/signals/boot_clock.h"
#include "watcher/signals/process_reader.h"
#include "watcher/signals/signal_trace.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A SignalTrace whose records a test writes. One thread.
class FakeSignalTrace : public SignalTrace {
 public:
  // The loop wakes for it, unless `silent`.
  void Record(SignalRecord record, bool silent = false) {
    records_.push_back(std::move(record));
    if (!silent) eventfd_write(fd_.get(), 1);
  }
  void Lose(uint64_t count) { lost_ += count; }

  int fd() const override { return fd_.get(); }
  void Read(std::vector<SignalRecord>* out) override {
    ++reads;
    eventfd_t ignored = 0;
    eventfd_read(fd_.get(), &ignored);
    for (SignalRecord& record : std::exchange(records_, {})) out->push_back(std::move(record));
  }
  uint64_t lost() const override { return lost_; }

  int reads = 0;

 private:
  UniqueFd fd_{eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
  std::vector<SignalRecord> records_;
  uint64_t lost_ = 0;
};

class SignalReceiver : public SignalWatch::User {
 public:
  void OnSignal(const SignalSender& sender) override { signals.push_back(sender); }
  void OnUnclearSignal(int signal, const std::string&) override { unclear.push_back(signal); }
  void OnOomVictim(const OomVictim& victim) override { victims.push_back(victim); }

  std::vector<SignalSender> signals;
  std::vector<int> unclear;
  std::vector<OomVictim> victims;
};

class SignalWatchTest : public testing::Test {
 protected:
  void Turn() { loop_->RunOnce(absl::ZeroDuration()); }
  void RecordAndTurn(const SignalRecord& record) {
    trace_->Record(record);
    Turn();
  }
  void Advance(absl::Duration time) {
    clock_.Advance(time);
    Turn();
  }
  static SignalRecord Signal(int64_t target, int signal = SIGKILL, int64_t sender = 812) {
    return {
        .time = SinceBoot() + absl::Hours(1), .target = target, .signal = signal, .sender = sender};
  }
  // The kernel's kill of `target`, in the context of that process.
  static SignalRecord KernelsKill(int64_t target, int64_t context) {
    SignalRecord record = Signal(target, SIGKILL, 0);
    record.by_kernel = true;
    record.context = context;
    return record;
  }
  // A process that began then.
  void WriteProcess(int64_t pid, int uid, int start_ticks) {
    const std::string process = root_.MakeDirectory(absl::StrCat("proc/", pid));
    std::ofstream(process + "/status") << "Tgid:\t" << pid << "\nUid:\t" << uid << "\t1\t1\t1\n";
    std::ofstream(process + "/stat")
        << pid << " (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 " << start_ticks << " 0 0\n";
    std::ofstream(process + "/comm") << "x\n";
  }
  // A QEMU in a container whose first process is 4700; both are gone as their signals are read.
  void FollowInContainer() {
    WriteProcess(4711, 0, 5000);
    WriteProcess(4700, 0, 5);
    std::ofstream(root_ / "proc/4711/status") << "NSpid:\t4711\t7\n";
    std::ofstream(root_ / "proc/4700/status") << "NSpid:\t4700\t1\n";
    std::ofstream(root_ / "proc/4711/stat")
        << "4711 (x) S 4700 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5000 0 0\n";
    watch_.Follow(4711, 5000, &qemu_);
    std::filesystem::remove_all(root_ / "proc");
  }
  // Sent while no daemon read it, by a process that is gone.
  static SignalRecord Before(ProcessMark sender, ProcessMark target, int64_t pid = 812) {
    SignalRecord record = Signal(4711, SIGKILL, pid);
    record.time = StartOf(5000) + absl::Seconds(1);
    record.sender_mark = sender;
    record.sender_comm = "x";
    record.target_mark = target;
    return record;
  }

  ManualClock clock_;
  TemporaryDirectory root_;  // where no process is found
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::shared_ptr<FakeSignalTrace> trace_ = std::make_shared<FakeSignalTrace>();
  SignalWatch watch_{loop_.get(), {trace_}, ProcessReader(root_.path())};
  SignalReceiver qemu_;
};

TEST_F(SignalWatchTest, ASenderHasWhatLogindKnowsOfItsSession) {
  const std::string sessions = root_.MakeDirectory("run/systemd/sessions");
  std::ofstream(sessions + "/12")
      << "# do not parse\nUID=1000\nUSER=alice\nREMOTE=1\nREMOTE_HOST=192.0.2.7\nAUDIT=12\n";
  std::ofstream(sessions + "/13") << "UID=1000\nUSER=alice\nAUDIT=14\n";
  watch_.Follow(4711, 5000, &qemu_);
  const auto sender_of = [&](uint32_t uid, uint32_t session) {
    SignalRecord record = Signal(4711, SIGTERM);
    record.login_uid = uid;
    record.login_session = session;
    qemu_.signals.clear();
    RecordAndTurn(record);
    return qemu_.signals.at(0);
  };
  const SignalSender alice = sender_of(1000, 12);
  EXPECT_EQ(alice.login_user, "alice");
  EXPECT_EQ(alice.remote_host, "192.0.2.7");
  for (const auto& [uid, session] : {std::pair(1001, 12), std::pair(1000, 13), std::pair(0, 7)}) {
    const SignalSender other =
        sender_of(static_cast<uint32_t>(uid), static_cast<uint32_t>(session));
    EXPECT_EQ(other.login_uid, static_cast<uint32_t>(uid));
    EXPECT_EQ(other.login_session, static_cast<uint32_t>(session));
    EXPECT_EQ(other.login_user, "") << "the file is of another session";
  }
}

TEST_F(SignalWatchTest, SignalsToAFollowedProcessAreReported) {
  watch_.Follow(4711, 5000, &qemu_);
  trace_->Record(Signal(99));
  RecordAndTurn(Signal(4711, SIGTERM));
  ASSERT_EQ(qemu_.signals.size(), 1U);
  EXPECT_EQ(qemu_.signals[0].signal, SIGTERM);
  EXPECT_EQ(qemu_.signals[0].pid, 812);
  trace_->Record(Signal(4711), /*silent=*/true);
  watch_.Drain();
  EXPECT_EQ(qemu_.signals.size(), 2U) << "without a turn of the loop";
}

TEST_F(SignalWatchTest, AnOomVictimIsReportedWithItsMemory) {
  watch_.Follow(4711, 5000, &qemu_);
  RecordAndTurn({.kind = SignalRecord::Kind::kOomVictim,
                 .time = SinceBoot() + absl::Hours(1),
                 .target = 4711,
                 .victim = {.total_vm = 5}});
  ASSERT_EQ(qemu_.victims.size(), 1U);
  EXPECT_EQ(qemu_.victims[0].total_vm, 5);
}

TEST_F(SignalWatchTest, ARecordOfTheEarlierProcessOfAReusedPidIsIgnored) {
  uint64_t start = 5000;
  while (StartOf(start) < SinceBoot()) start *= 2;
  watch_.Follow(4711, start, &qemu_);
  SignalRecord earlier = Signal(4711);
  earlier.time = StartOf(start) - absl::Nanoseconds(1);
  RecordAndTurn(earlier);
  EXPECT_TRUE(qemu_.signals.empty());
  earlier.time = StartOf(start);
  RecordAndTurn(earlier);
  EXPECT_EQ(qemu_.signals.size(), 1U);
}

// The end of that process is not noticed yet: its record is neither the new process's nor lost.
TEST_F(SignalWatchTest, ARecordBeforeAPidIsReusedGoesToTheOldProcess) {
  SignalReceiver next;
  watch_.Follow(4711, 5000, &qemu_);
  trace_->Record(Signal(4711));
  watch_.Follow(4711, 5001, &next);
  EXPECT_EQ(qemu_.signals.size(), 1U);
  Turn();
  EXPECT_TRUE(next.signals.empty());
  RecordAndTurn(Signal(4711));
  EXPECT_EQ(next.signals.size(), 1U);
}

TEST_F(SignalWatchTest, NothingIsReportedAfterUnfollow) {
  SignalReceiver other;
  watch_.Follow(4711, 5000, &qemu_);
  watch_.Unfollow(4711, &other);
  RecordAndTurn(Signal(4711));
  EXPECT_EQ(qemu_.signals.size(), 1U) << "it was another's to give up";
  watch_.Unfollow(4711, &qemu_);
  RecordAndTurn(Signal(4711));
  EXPECT_EQ(qemu_.signals.size(), 1U);
}

TEST_F(SignalWatchTest, AQemuThatChangedItsUserIsJudgedByTheNewOne) {
  const auto last = [&] {
    RecordAndTurn(Signal(4711));
    return qemu_.signals.back();
  };
  SignalReceiver other;
  WriteProcess(4711, 0, 5);
  WriteProcess(812, 107, 5);
  watch_.Follow(4711, 5000, &qemu_);
  EXPECT_FALSE(last().of_qemus_user);
  WriteProcess(4711, 107, 5);
  watch_.RefreshOrigin(4711, &other);
  EXPECT_FALSE(last().of_qemus_user);
  watch_.RefreshOrigin(4711, &qemu_);
  EXPECT_TRUE(last().of_qemus_user);
  std::filesystem::remove_all(root_ / "proc/4711");
  watch_.RefreshOrigin(4711, &qemu_);
  EXPECT_TRUE(last().of_qemus_user) << "it has ended meanwhile";
}

TEST_F(SignalWatchTest, AFloodWakesTheLoopABoundedNumberOfTimes) {
  watch_.Follow(4711, 5000, &qemu_);
  const int before = trace_->reads;
  // One second, in steps of a millisecond.
  for (int i = 0; i < 1000; ++i) {
    for (int k = 0; k < 10; ++k) trace_->Record(Signal(99));
    Advance(absl::Milliseconds(1));
  }
  EXPECT_LE(trace_->reads - before, 200 + 100 + 2 * 100);
  // No record is missed.
  trace_->Record(Signal(4711));
  Advance(absl::Milliseconds(20));
  EXPECT_EQ(qemu_.signals.size(), 1U);
  // Afterwards it wakes at once again.
  Advance(absl::Minutes(1));
  RecordAndTurn(Signal(4711));
  EXPECT_EQ(qemu_.signals.size(), 2U);
}

TEST_F(SignalWatchTest, ASenderThatIsGoneHasUserAndNameFromTheRecord) {
  watch_.Follow(4711, 5000, &qemu_);
  SignalRecord record = Signal(4711);
  record.sender_mark = {.uid = 998, .cgroup = 4000};
  record.sender_comm = "kill\n";
  for (int i = 0; i < 5000; ++i) trace_->Record(record);
  Turn();
  ASSERT_EQ(qemu_.signals.size(), 5000U);
  for (const SignalSender& sender : {qemu_.signals.front(), qemu_.signals.back()}) {
    EXPECT_EQ(sender.pid, 812);
    EXPECT_EQ(sender.uid, 998U);
    EXPECT_EQ(sender.command, "kill\\x0a");
    EXPECT_EQ(sender.executable, "");
    EXPECT_EQ(sender.cgroup, "");
    EXPECT_TRUE(sender.of_qemus_user) << "the user of QEMU is not known here";
    EXPECT_FALSE(sender.of_qemu);
  }
}

TEST_F(SignalWatchTest, ASignalThatATimerMayHaveSentHasNoSenderUnlessQemuRanThen) {
  watch_.Follow(4711, 5000, &qemu_);
  SignalRecord record = Signal(4711);
  record.unclear = true;
  RecordAndTurn(record);
  EXPECT_TRUE(qemu_.signals.empty());
  EXPECT_THAT(qemu_.unclear, ElementsAre(SIGKILL));
  record.sender = 4711;
  RecordAndTurn(record);
  ASSERT_EQ(qemu_.signals.size(), 1U);
  EXPECT_TRUE(qemu_.signals[0].of_qemu);
}

TEST_F(SignalWatchTest, ASignalFromTheHandoverIsReportedOnceItsTargetIsFollowed) {
  trace_->Record(Before({.uid = 0, .cgroup = 1}, {.uid = 107, .cgroup = 2}));
  RecordAndTurn(Signal(4711));
  watch_.Follow(4711, 5000, &qemu_);
  watch_.Drain();
  EXPECT_EQ(qemu_.signals.size(), 1U) << "what was sent since is not kept";
  watch_.Drain();
  EXPECT_EQ(qemu_.signals.size(), 1U);
}

TEST_F(SignalWatchTest, ASenderThatIsGoneIsReportedOnlyIfTheRecordProvesItIsNotQemus) {
  const struct {
    ProcessMark sender;
    ProcessMark qemu;
    bool proven;
  } kCases[] = {{{.uid = 0, .cgroup = 1}, {.uid = 107, .cgroup = 1}, true},
                {{.uid = 998, .cgroup = 1}, {.uid = 107, .cgroup = 1}, true},
                {{.uid = 0, .cgroup = 1}, {.uid = 0, .cgroup = 2}, true},
                {{.uid = 0, .cgroup = 1}, {.uid = 0, .cgroup = 1}, false},
                {{.uid = 107, .cgroup = 1}, {.uid = 107, .cgroup = 2}, false},
                {{.uid = 107, .cgroup = 1}, {.uid = 107, .cgroup = 1}, false},
                // What root has started may be of any user.
                {{.uid = 998, .cgroup = 1}, {.uid = 0, .cgroup = 1}, false}};
  watch_.Follow(4711, 5000, &qemu_);
  for (const auto& expected : kCases) {
    qemu_.signals.clear();
    qemu_.unclear.clear();
    RecordAndTurn(Before(expected.sender, expected.qemu));
    EXPECT_EQ(qemu_.signals.size(), expected.proven ? 1U : 0U)
        << expected.sender.uid << " " << expected.qemu.uid;
    EXPECT_EQ(qemu_.unclear.size(), expected.proven ? 0U : 1U);
  }
  // The same holds if the record does not have it.
  SignalRecord record = Before({}, {});
  record.target_mark.reset();
  RecordAndTurn(record);
  EXPECT_TRUE(qemu_.signals.empty());
  // QEMU itself needs no proof.
  RecordAndTurn(Before({.uid = 107, .cgroup = 1}, {.uid = 107, .cgroup = 1}, 4711));
  ASSERT_EQ(qemu_.signals.size(), 1U);
  EXPECT_TRUE(qemu_.signals[0].of_qemu);
}

// The signal may have ended the process, and another process may have its pid since.
TEST_F(SignalWatchTest, TheFirstSignalOfEachKindDuringTheHandoverCounts) {
  const struct {
    int signal;
    int64_t sender;
  } kSent[] = {{SIGINT, 812}, {SIGTERM, 813}, {SIGKILL, 814}, {SIGKILL, 815}, {SIGTERM, 816}};
  for (const auto& sent : kSent) {
    SignalRecord record = Before({.uid = 0, .cgroup = 1}, {.uid = 107, .cgroup = 2}, sent.sender);
    record.signal = sent.signal;
    trace_->Record(record);
  }
  Turn();
  watch_.Follow(4711, 5000, &qemu_);
  watch_.Drain();
  ASSERT_EQ(qemu_.signals.size(), 2U);
  EXPECT_EQ(qemu_.signals[0].pid, 812);
  EXPECT_EQ(qemu_.signals[1].pid, 814);
}

TEST_F(SignalWatchTest, SignalsAfterAKillDuringTheHandoverAreIgnored) {
  for (const int signal : {SIGKILL, SIGTERM}) {
    SignalRecord record = Before({.uid = 0, .cgroup = 1}, {.uid = 107, .cgroup = 2}, 800 + signal);
    record.signal = signal;
    trace_->Record(record);
  }
  Turn();
  watch_.Follow(4711, 5000, &qemu_);
  watch_.Drain();
  ASSERT_EQ(qemu_.signals.size(), 1U);
  EXPECT_EQ(qemu_.signals[0].signal, SIGKILL);
}

TEST_F(SignalWatchTest, ALivingSenderIsReadEvenIfItSentDuringTheHandover) {
  watch_.Follow(4711, 5000, &qemu_);
  WriteProcess(812, 107, 5050);
  std::ofstream(root_ / "proc/812/cgroup") << "0::/machine.slice/qemu.scope\n";
  RecordAndTurn(Before({.uid = 107, .cgroup = 1}, {.uid = 107, .cgroup = 1}));
  ASSERT_EQ(qemu_.signals.size(), 1U);
  EXPECT_TRUE(qemu_.signals[0].descent_unproven) << "an orphan of its user and cgroup";
  WriteProcess(812, 107, 10);
  RecordAndTurn(Before({.uid = 107, .cgroup = 1}, {.uid = 107, .cgroup = 1}));
  ASSERT_EQ(qemu_.signals.size(), 2U);
  EXPECT_FALSE(qemu_.signals[1].of_qemu) << "it is older";
  EXPECT_EQ(qemu_.signals[1].cgroup, "/machine.slice/qemu.scope");
}

TEST_F(SignalWatchTest, AKillOfTheFirstProcessOfItsContainerIsAKillOfTheVm) {
  FollowInContainer();
  for (const int signal : {SIGKILL, SIGTERM, SIGINT, SIGQUIT}) {
    qemu_.signals.clear();
    trace_->Record(Signal(4700, signal));
    for (int i = 0; i < 100; ++i) trace_->Record(Signal(99));
    RecordAndTurn(KernelsKill(4711, 4700));
    ASSERT_EQ(qemu_.signals.size(), 1U);
    EXPECT_EQ(qemu_.signals[0].signal, SIGKILL);
    EXPECT_EQ(qemu_.signals[0].pid, 812);
    EXPECT_FALSE(qemu_.signals[0].by_kernel);
    EXPECT_EQ(qemu_.signals[0].first_process, 4700);
    EXPECT_EQ(qemu_.signals[0].first_signal, signal);
  }
}

TEST_F(SignalWatchTest, AKillOfTheFirstProcessOfAnOuterContainerIsAKillOfTheVm) {
  FollowInContainer();
  trace_->Record(Signal(4600));
  trace_->Record(KernelsKill(4700, 4600));
  RecordAndTurn(KernelsKill(4711, 4700));
  ASSERT_EQ(qemu_.signals.size(), 1U);
  EXPECT_EQ(qemu_.signals[0].pid, 812);
}

// bubblewrap requests this with --die-with-parent.
TEST_F(SignalWatchTest, AKillOfAContainerWhoseParentEndedIsTheKernels) {
  FollowInContainer();
  SignalRecord death = KernelsKill(4700, 0);
  death.ended_with = "bash (pid 812)";
  trace_->Record(death);
  RecordAndTurn(KernelsKill(4711, 4700));
  ASSERT_EQ(qemu_.signals.size(), 1U);
  EXPECT_TRUE(qemu_.signals[0].by_kernel);
  EXPECT_EQ(qemu_.signals[0].first_process, 4700);
  EXPECT_EQ(qemu_.signals[0].ended_with, "bash (pid 812)");
}

TEST_F(SignalWatchTest, AKillByTheEndOfAContainerIsTheKernels) {
  FollowInContainer();
  trace_->Record(Signal(4700, SIGHUP));
  trace_->Record(Signal(4701));
  SignalRecord obeyed_by_then = Signal(4700, SIGTERM);
  obeyed_by_then.time -= absl::Minutes(10) + absl::Nanoseconds(1);
  trace_->Record(obeyed_by_then);
  RecordAndTurn(KernelsKill(4711, 4700));
  ASSERT_EQ(qemu_.signals.size(), 1U);
  EXPECT_TRUE(qemu_.signals[0].by_kernel);
  EXPECT_EQ(qemu_.signals[0].first_process, 4700);
  EXPECT_EQ(qemu_.signals[0].first_signal, 0);
}

// The first process may have disregarded that signal, and have ended by one whose record was lost.
TEST_F(SignalWatchTest, ASignalBeforeLostRecordsDoesNotExplainTheFirstProcesssEnd) {
  FollowInContainer();
  for (const auto& [signal, ender] : {std::pair(SIGTERM, 0), {SIGKILL, SIGKILL}}) {
    qemu_.signals.clear();
    SignalRecord sent = Signal(4700, signal);
    sent.time = SinceBoot();
    trace_->Record(sent);
    trace_->Lose(1);
    SignalRecord end = KernelsKill(4711, 4700);
    end.time = SinceBoot();
    RecordAndTurn(end);
    ASSERT_EQ(qemu_.signals.size(), 1U);
    EXPECT_EQ(qemu_.signals[0].first_process, 4700);
    EXPECT_EQ(qemu_.signals[0].first_signal, ender);
  }
}

TEST_F(SignalWatchTest, AKillIsAttributedToAFirstProcessOnlyIfItLedANamespace) {
  WriteProcess(4700, 0, 5);
  watch_.Follow(4711, 5000, &qemu_);
  for (const char* numbers : {"4700", "4700\t7"}) {
    qemu_.signals.clear();
    std::ofstream(root_ / "proc/4700/status") << "NSpid:\t" << numbers << "\n";
    trace_->Record(Signal(4700));
    RecordAndTurn(KernelsKill(4711, 4700));
    ASSERT_EQ(qemu_.signals.size(), 1U);
    EXPECT_TRUE(qemu_.signals[0].by_kernel);
    EXPECT_EQ(qemu_.signals[0].first_process, 0);
  }
  std::ofstream(root_ / "proc/4700/status") << "NSpid:\t4700\t1\n";
  RecordAndTurn(KernelsKill(4711, 4700));
  EXPECT_EQ(qemu_.signals.back().pid, 812);
  // A kill in its own context, for example because its cgroup is full.
  RecordAndTurn(KernelsKill(4711, 4711));
  EXPECT_EQ(qemu_.signals.back().first_process, 0);
}

// The kernel kills it with a tracer that had requested that (PTRACE_O_EXITKILL).
TEST_F(SignalWatchTest, AnEndedProcessIsNotTakenForTheFirstProcessOfAContainer) {
  watch_.Follow(4711, 5000, &qemu_);
  SignalRecord kill = KernelsKill(4711, 4700);
  kill.ended_with = "gdb (pid 4700) ended";
  RecordAndTurn(kill);
  ASSERT_EQ(qemu_.signals.size(), 1U);
  EXPECT_TRUE(qemu_.signals[0].by_kernel);
  EXPECT_EQ(qemu_.signals[0].first_process, 0);
  EXPECT_EQ(qemu_.signals[0].ended_with, "gdb (pid 4700) ended");
}

TEST_F(SignalWatchTest, ReportsWhyTheSenderIsNotKnown) {
  EXPECT_EQ(watch_.WhyUnknown(), "the kernel has no record of it");
  trace_->Lose(7);
  watch_.Drain();
  EXPECT_EQ(watch_.lost(), 7U);
  EXPECT_THAT(watch_.WhyUnknown(), HasSubstr("dropped 7 records"));
  SignalWatch none(loop_.get(), {nullptr, {ProblemCode::kNoKernelTypes, "no BTF"}});
  EXPECT_EQ(none.WhyUnknown(), "this vmeventd sees no senders of signals");
  EXPECT_EQ(none.state().problem().text(), "no BTF") << "for info and doctor";
  EXPECT_FALSE(none.state().active());
}

}  // namespace
}  // namespace vmeventd
