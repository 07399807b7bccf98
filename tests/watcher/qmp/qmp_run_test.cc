// A run by itself: its process, its monitor, and a cgroup of the test's own making.

#include "watcher/qmp/qmp_run.h"

#include <csignal>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/test_util.h"
#include "watcher/qmp/monitor_connection.h"

namespace vmeventd {
namespace {

constexpr char kOomFile[] = "/memory.events";

class QmpRunTest : public testing::Test, public VmRun::Owner, public QmpRun::Connector {
 protected:
  QmpRunTest() {
    context_.loop = loop_.get();
    context_.options = &options_;
    context_.exit_statuses = exit_statuses_.get();
    context_.oom_counters = &oom_counters_;
    context_.signals = &signals_;
    context_.host = &host_;
    context_.budget = std::make_unique<MonitorBudget>();
  }
  ~QmpRunTest() override {
    run_.reset();
    context_.closed_connections.clear();
  }

  void OnPublish(VmRun*, VmUpdate update) override {
    if (update.on_public != nullptr) update.on_public();
    clock_.Advance(time_of_an_update_);
    sink_.Push(std::move(update));
  }
  void OnMonitorReady(QmpRun*, const std::string&) override {}
  void OnMonitorEnded(QmpRun*, QmpRun::MonitorEnd, absl::Duration) override {}
  void OnNoVm(QmpRun*, const Problem&) override {}
  bool LeaveToOther(QmpRun*, const PeerProcess&) override { return false; }
  void OnProcessChanged(VmRun*) override {}
  void OnOomKill(VmRun*, uint64_t) override {}
  void OnOver(VmRun*) override {}

  // What the kernel counts in the VM's cgroup.
  void SetOomKills(int kills) const {
    std::ofstream(root_.path() + kOomFile) << "oom_kill " << kills << "\n";
  }
  bool Until(const std::function<bool()>& done) {
    return StepUntil([this] { loop_->RunOnce(absl::Milliseconds(10)); }, done);
  }
  // The same in time that passes: an exit status or a pause may be waited for.
  bool UntilInTime(const std::function<bool()>& done) {
    return Until([&] {
      clock_.Advance(absl::Milliseconds(10));
      return done();
    });
  }
  bool UntilStopped() {
    return UntilInTime([this] { return sink_.Count(EventType::kStopped) == 1; });
  }
  // Its monitor is read again after a pause.
  void TakeALongTurn() {
    time_of_an_update_ = absl::Milliseconds(10);
    qemu_.Send(0, "{\"event\": \"BLOCK_IO_ERROR\", \"data\": {}}\r\n");
    ASSERT_TRUE(Until([&] { return sink_.Count(EventType::kIoError) == 1; }));
  }
  void Follow() {
    RunInfo info;
    info.run_id = "run";
    info.name = "vm1";
    info.monitor_path = root_.Path("vm1.kvmd");
    info.pid = qemu_.pid();
    info.oom_file = kOomFile;
    qemu_.AddMonitor(std::string(info.monitor_path));
    run_ = std::make_unique<QmpRun>(&context_, this, this,
                                    VmSession(std::move(info), &options_.session, clock_.Now()));
    run_->sockets().home = &slot_;
    ASSERT_TRUE(run_->Track(IdentifyByPid(qemu_.pid()).value()).ok());
    Attach();
    ASSERT_TRUE(Until([&] {
      clock_.Advance(absl::Milliseconds(1));  // the commands of the handshake are spaced
      return sink_.Count(EventType::kStarted) == 1;
    }));
  }
  void Attach() {
    SocketFile file;
    UniqueFd socket;
    ASSERT_EQ(OpenSocketFile(run_->info().raw_path(), &file), 0);
    ASSERT_EQ(ConnectTo(file, &socket), 0);
    ASSERT_TRUE(
        run_->Attach(ReceivingSocket(std::move(socket), &context_.closer), file.identity).ok());
  }
  void DeclareIntent() {
    bool declared = false;
    run_->DeclareIntent({"id", "admin", "maintenance", clock_.Now().wall + absl::Hours(1), ""},
                        [&] { declared = true; });
    ASSERT_TRUE(declared);
  }
  ShutdownClass KillAndJudge() {
    qemu_.Kill(SIGKILL);
    EXPECT_TRUE(UntilStopped());
    return sink_.Last(EventType::kStopped)->update.event->shutdown->shutdown_class;
  }

  // By which the clock moves on while an update is handed over.
  absl::Duration time_of_an_update_;
  TempDir root_;
  ManualClock clock_;
  RecordingSink sink_;
  WatcherOptions options_;
  FakeQemu qemu_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::unique_ptr<ExitStatusReader> exit_statuses_ =
      ExitStatusReader::Create(loop_.get(), std::nullopt);
  OomCounters oom_counters_{root_.path()};
  SignalWatch signals_{loop_.get(), nullptr, ""};
  HostWatch host_{loop_.get(), nullptr, ""};
  QmpContext context_;
  SocketSlot slot_;
  std::unique_ptr<QmpRun> run_;
};

TEST_F(QmpRunTest, AHelperThatWasKilledWeeksBeforeDoesNotMakeAnAdminsKillACrash) {
  SetOomKills(0);
  Follow();
  SetOomKills(1);  // the helper: QEMU lives on
  DeclareIntent();
  EXPECT_EQ(KillAndJudge(), ShutdownClass::kAdmin);
}

TEST_F(QmpRunTest, AKillThatIsCountedAsItEndsIsItsOwn) {
  SetOomKills(0);
  Follow();
  DeclareIntent();
  SetOomKills(1);
  EXPECT_EQ(KillAndJudge(), ShutdownClass::kCrash);
}

// Its answers wait to be read when its process ends: they are no sign of another process.
TEST_F(QmpRunTest, AnAnswerFromBeforeItsEndIsNoSignOfLife) {
  Follow();
  FakeMonitor silent{.answer = false};
  qemu_.SetBehavior(0, silent);
  qemu_.CloseClient(0);
  ASSERT_TRUE(Until([&] { return !run_->connected(); }));
  Attach();
  const size_t asked = qemu_.Commands(0).size();
  ASSERT_TRUE(Until([&] {
    clock_.Advance(absl::Milliseconds(1));
    return qemu_.Commands(0).size() > asked;
  }));
  ASSERT_NO_FATAL_FAILURE(TakeALongTurn());
  std::string answers;
  for (int i = 0; i < 4; ++i) answers += "{\"return\": {\"status\": \"running\"}}\r\n";
  const pid_t pid = qemu_.pid();
  qemu_.SendAndExit(0, answers);
  qemu_.Reap();
  ASSERT_TRUE(UntilStopped());
  EXPECT_EQ(sink_.Last(EventType::kStopped)->update.status->ref.pid, pid);
}

TEST_F(QmpRunTest, AnEndIsHandledAlthoughAnotherProcessSpeaksBehindTheLastWords) {
  Follow();
  ASSERT_NO_FATAL_FAILURE(TakeALongTurn());
  const pid_t pid = qemu_.pid();
  qemu_.ForkSpeaker(0, "{\"event\": \"RESET\", \"data\": {}}\r\n");
  qemu_.Exit();
  qemu_.Reap();
  ASSERT_TRUE(UntilStopped());
  EXPECT_EQ(sink_.Last(EventType::kStopped)->update.status->ref.pid, pid);
}

}  // namespace
}  // namespace vmeventd
