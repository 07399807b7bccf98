// A run by itself: its process, its monitor, and a cgroup of the test's own making.

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
#include "watcher/qmp/qmp_source.h"

namespace vmeventd {
namespace {

constexpr char kOomFile[] = "/memory.events";

// Has the clock move on while it takes an update.
class SlowSink : public RecordingSink {
 public:
  explicit SlowSink(ManualClock* clock) : clock_(clock) {}
  void Push(VmUpdate update) override {
    if (update.on_public != nullptr) update.on_public();
    clock_->Advance(time_of_an_update);
    RecordingSink::Push(std::move(update));
  }
  absl::Duration time_of_an_update;

 private:
  ManualClock* const clock_;
};

class QmpRunTest : public testing::Test {
 protected:
  QmpRunTest() {
    context_.loop = loop_.get();
    context_.options = &options_;
    context_.exit_statuses = exit_statuses_.get();
    context_.oom_counters = &oom_counters_;
    context_.signals = &signals_;
    context_.host = &host_;
    connector_ = SocketConnector::Create(&context_, &table_, &sink_).value();
  }

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
    sink_.time_of_an_update = absl::Milliseconds(10);
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
    auto run =
        std::make_unique<QmpRun>(&context_, &table_, connector_.get(),
                                 VmSession(std::move(info), &options_.session, clock_.Now()));
    run_ = run.get();
    run_->sockets().home = &slot_;
    table_.Add(connector_.get(), std::move(run));
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

  TempDir root_;
  ManualClock clock_;
  SlowSink sink_{&clock_};
  WatcherOptions options_;
  FakeQemu qemu_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::unique_ptr<ExitStatusReader> exit_statuses_ =
      ExitStatusReader::Create(loop_.get(), std::nullopt);
  OomCounters oom_counters_{root_.path()};
  SignalWatch signals_{loop_.get(), nullptr, ""};
  HostWatch host_{loop_.get(), nullptr, ""};
  RunContext context_;
  SocketSlot slot_{.runs = 1};
  std::unique_ptr<SocketConnector> connector_;
  RunTable table_{&sink_, &context_.meters};
  QmpRun* run_ = nullptr;
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
