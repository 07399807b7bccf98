// To which process an OOM kill in a cgroup is attributed, with a cgroup of the test's own making.

#include "watcher/qmp/qmp_run.h"

#include <csignal>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/test_util.h"
#include "watcher/qmp/socket_file.h"

namespace vmeventd {
namespace {

constexpr char kOomFile[] = "/memory.events";

class QmpRunOomTest : public testing::Test, public VmRun::Owner, public QmpRun::Source {
 protected:
  QmpRunOomTest() {
    context_.loop = loop_.get();
    context_.options = &options_;
    context_.exit_statuses = exit_statuses_.get();
    context_.oom_counters = &oom_counters_;
    context_.oom_watch = oom_watch_.get();
    context_.buffer.resize(64 << 10);
  }
  ~QmpRunOomTest() override {
    run_.reset();
    context_.closed_connections.clear();
  }

  void OnPublish(VmRun*, VmUpdate update) override {
    if (update.told != nullptr) update.told();
    sink_.Push(std::move(update));
  }
  void OnMonitorReady(QmpRun*, const std::string&) override {}
  void OnMonitorEnded(QmpRun*, QmpRun::MonitorEnd, absl::Duration) override {}
  bool OnSpeaker(QmpRun*, int64_t) override { return false; }
  QmpRun::Listener ConnectAgain(const QmpRun*, UniqueFd*, SocketIdentity*) override {
    return QmpRun::Listener::kNone;
  }
  void OnFollowed(VmRun*, const ProcessKey&) override {}
  void OnUnfollowed(VmRun*, const ProcessKey&) override {}
  bool OwnsName(const VmRun*) const override { return true; }
  void OnOomKill(VmRun*, uint64_t) override {}
  void OnOver(VmRun*) override {}

  // What the kernel counts in the VM's cgroup.
  void SetOomKills(int kills) const {
    std::ofstream(root_.path() + kOomFile) << "oom_kill " << kills << "\n";
  }
  bool Until(const std::function<bool()>& done) {
    return StepUntil([this] { loop_->RunOnce(absl::Milliseconds(10)); }, done);
  }
  // Time in which nothing but timers is due.
  void Pass(absl::Duration time) {
    clock_.Advance(time);
    for (int i = 0; i < 5; ++i) loop_->RunOnce(absl::ZeroDuration());
  }
  void Follow() {
    RunInfo info;
    info.run_id = "run";
    info.name = info.raw_name = "vm1";
    info.raw_path = info.monitor_path = root_.Path("vm1.kvmd");
    info.pid = qemu_.pid();
    info.oom_file = kOomFile;
    qemu_.AddMonitor(info.raw_path);
    SocketFile file;
    UniqueFd socket;
    ASSERT_EQ(OpenSocketFile(info.raw_path, &file), 0);
    ASSERT_EQ(ConnectTo(file, &socket), 0);
    run_ = std::make_unique<QmpRun>(&context_, this, this,
                                    VmSession(std::move(info), &options_.session, clock_.Now()));
    ASSERT_TRUE(run_->Track(IdentifyByPid(qemu_.pid()).value()).ok());
    ASSERT_TRUE(run_->Attach(std::move(socket), file.identity).ok());
    ASSERT_TRUE(Until([&] { return sink_.Count(EventType::kStarted) == 1; }));
  }
  void DeclareIntent() {
    bool declared = false;
    run_->DeclareIntent({"id", "admin", "maintenance", clock_.Now().wall + absl::Hours(1), ""},
                        [&] { declared = true; });
    ASSERT_TRUE(declared);
  }
  ShutdownClass KillAndJudge() {
    qemu_.Kill(SIGKILL);
    EXPECT_TRUE(Until([&] {
      clock_.Advance(absl::Milliseconds(10));  // the exit status may be waited for
      return sink_.Count(EventType::kStopped) == 1;
    }));
    return sink_.Last(EventType::kStopped)->update.event->shutdown->shutdown_class;
  }

  TempDir root_;
  ManualClock clock_;
  RecordingSink sink_;
  WatcherOptions options_;
  FakeQemu qemu_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::unique_ptr<ExitStatusReader> exit_statuses_ =
      ExitStatusReader::Create(loop_.get(), std::nullopt);
  OomCounters oom_counters_{root_.path()};
  std::unique_ptr<OomWatch> oom_watch_ = OomWatch::Create(loop_.get(), root_.path()).value();
  QmpContext context_;
  std::unique_ptr<QmpRun> run_;
};

TEST_F(QmpRunOomTest, AHelperThatWasKilledWeeksBeforeDoesNotMakeAnAdminsKillACrash) {
  SetOomKills(0);
  Follow();
  SetOomKills(1);  // the helper: QEMU lives on
  Pass(absl::Seconds(1));
  Pass(absl::Hours(29 * 24));
  DeclareIntent();
  EXPECT_EQ(KillAndJudge(), ShutdownClass::kAdmin);
}

TEST_F(QmpRunOomTest, AKillThatIsCountedAsItEndsIsItsOwn) {
  SetOomKills(0);
  Follow();
  DeclareIntent();
  SetOomKills(1);
  EXPECT_EQ(KillAndJudge(), ShutdownClass::kCrash);
}

}  // namespace
}  // namespace vmeventd
