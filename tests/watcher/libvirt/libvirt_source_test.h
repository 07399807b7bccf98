#pragma once

// The fixtures of the source "libvirt" with domains that the test plays.

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_libvirt.h"
#include "tests/support/sources_with_libvirt.h"
#include "tests/support/test_util.h"
#include "tests/watcher/runs/child.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/node/node_watcher.h"
#include "watcher/runs/previous_runs.h"
#include "watcher/runs/watcher_options.h"

namespace vmeventd {

// UUIDs of this test process alone: others that run at the same time have processes with theirs.
inline const DomainName kDomain = {"web1",
                                   absl::StrFormat("475852fa-ea74-4630-8eae-%012d", getpid()), 3};
inline const DomainName kOther = {"other",
                                  absl::StrFormat("475852fa-0000-4630-8eae-%012d", getpid()), 9};
// Another life of the first.
inline DomainName LifeWithId(int id) {
  DomainName life = kDomain;
  life.id = id;
  return life;
}
inline constexpr char kGuestShutdown[] = R"({"guest":true,"reason":"guest-shutdown"})";
inline constexpr char kHostSignal[] = R"({"guest":false,"reason":"host-signal"})";

// A process with these arguments, which it has when this returns.
inline std::unique_ptr<Child> StartSleeping(const char* program, const char* option,
                                            const std::string& value) {
  // Before its exec the process looks like this test.
  int running[2];
  EXPECT_EQ(pipe2(running, O_CLOEXEC), 0);
  auto process = std::make_unique<Child>([&] {
    return execl("/bin/sh", program, "-c", "while :; do sleep 1; done", program, option,
                 value.c_str(), nullptr);
  });
  close(running[1]);
  char byte = 0;
  EXPECT_EQ(read(running[0], &byte, 1), 0);
  close(running[0]);
  return process;
}

// The node's clocks, ahead of themselves: for tests with real processes. One thread.
class ShiftedClock : public Clock {
 public:
  Instant Now() const override {
    const Instant now = stopped_.value_or(real_.Now());
    return {now.wall + shift_, now.monotonic + shift_};
  }
  void Advance(absl::Duration step) { shift_ += step; }
  // From now on only Advance moves the clocks.
  void Stop() { stopped_ = real_.Now(); }
  // The clocks resume where they stopped.
  void Resume() {
    shift_ -= real_.Now().monotonic - stopped_->monotonic;
    stopped_.reset();
  }

 private:
  SystemClock real_;
  std::optional<Instant> stopped_;
  absl::Duration shift_;
};

class LibvirtSourceTest : public testing::Test {
 protected:
  LibvirtSourceTest() {
    directory_.MakeDirectory("ctrl");
    options_.sources.watches = {{directory_.Path("ctrl"), "*.kvmd"}};
    options_.sources.libvirts = {
        ParseLibvirtUri("qemu+unix:///system?socket=" + directory_.Path("libvirt-sock")).value()};
    options_.process_tracking = false;
    options_.directory_patience = absl::Minutes(1);
  }
  ~LibvirtSourceTest() override { libvirt_->Hang(false); }

  // Starts a watcher with `previous_`, which is empty afterwards.
  void Start() {
    watcher_ = NodeWatcher::Create(options_, std::exchange(previous_, {}), &clock_, &sink_,
                                   SourcesWithLibvirt(libvirt_))
                   .value();
  }
  void Restart() {
    watcher_.reset();
    for (const auto& [run_id, text] : SavedRuns()) previous_.saved.push_back(text);
    Start();
  }
  bool Until(const std::function<bool()>& done) {
    return StepUntil([this] { watcher_->RunOnce(absl::Milliseconds(10)); }, done);
  }
  // The same while the clock goes on faster.
  bool UntilInTime(const std::function<bool()>& done, absl::Duration step = absl::Seconds(1)) {
    return Until([&] {
      clock_.Advance(step);
      return done();
    });
  }
  // Handles everything that is due.
  void Step() {
    for (int turn = 0; turn < 10; ++turn) watcher_->RunOnce(absl::ZeroDuration());
  }
  bool UntilConnected(bool connected = true) {
    return Until([&] {
      const v1::GetServerInfoResponse info = watcher_->Describe();
      return info.libvirt_connections_size() == 1 &&
             info.libvirt_connections(0).connected() == connected;
    });
  }
  bool UntilCount(EventType type, int count = 1) {
    return Until([&] { return sink_.Count(type) >= count; });
  }
  void StartConnected() {
    Start();
    ASSERT_TRUE(UntilConnected());
  }
  void RestartConnected() {
    Restart();
    ASSERT_TRUE(UntilConnected());
  }
  void StartDomain(const DomainName& domain = kDomain) {
    const int before = sink_.Count(EventType::kStarted);
    libvirt_->Qmp(domain, "RESUME");
    libvirt_->Started(domain);
    ASSERT_TRUE(UntilCount(EventType::kStarted, before + 1));
  }
  void BeginOther() { StartDomain(kOther); }
  void StartWithDomain() {
    StartConnected();
    StartDomain();
  }
  // Starts the source while a domain runs already.
  void FindDomain() {
    libvirt_->SetActive({{kDomain, "running"}});
    StartConnected();
    ASSERT_TRUE(UntilCount(EventType::kStarted));
  }
  void ReportShutdown() { libvirt_->Stopped(kDomain, ManagerEnd::kShutdown, "stopped, shutdown"); }
  void ReportDestroyed() {
    libvirt_->Stopped(kDomain, ManagerEnd::kDestroyed, "stopped, destroyed");
  }
  void PowerOff() {
    libvirt_->Qmp(kDomain, "SHUTDOWN", kGuestShutdown);
    ReportShutdown();
  }
  // The last one of so many ends has this cause, or class.
  void ExpectEnd(ShutdownCause cause, int ends = 1) {
    ASSERT_TRUE(UntilCount(EventType::kStopped, ends));
    EXPECT_EQ(LastStopped().shutdown().cause(), cause) << LastStopped().message();
  }
  void ExpectEnd(ShutdownClass shutdown_class, int ends = 1) {
    ASSERT_TRUE(UntilCount(EventType::kStopped, ends));
    EXPECT_EQ(LastStopped().shutdown().shutdown_class(), shutdown_class) << LastStopped().message();
  }
  // What the sink keeps of each open run, by run id.
  std::map<std::string, std::string> SavedRuns() {
    std::map<std::string, std::string> saved;
    for (const RecordingSink::Entry& entry : sink_.entries()) {
      if (!entry.update.saved_run.has_value()) continue;
      const std::string run_id(entry.update.status->ref().run_id());
      saved[run_id] = *entry.update.saved_run;
      if (saved[run_id].empty()) saved.erase(run_id);
    }
    return saved;
  }
  const v1::Event& LastStopped() { return *sink_.Last(EventType::kStopped)->update.event; }
  std::vector<std::string> LastEvidence() {
    std::vector<std::string> what;
    for (const v1::Evidence& entry : LastStopped().shutdown().evidence())
      what.push_back(entry.what());
    return what;
  }

  TempDir directory_;
  ShiftedClock clock_;
  RecordingSink sink_;
  WatcherOptions options_;
  PreviousRuns previous_;
  std::shared_ptr<FakeLibvirt> libvirt_ = std::make_shared<FakeLibvirt>();
  std::unique_ptr<NodeWatcher> watcher_;
};

// A process that looks like the domain's QEMU, with its pid file.
class LibvirtProcessTest : public LibvirtSourceTest {
 protected:
  LibvirtProcessTest() {
    options_.process_tracking = true;
    directory_.MakeDirectory("qemu");
    StartProcess();
  }

  // Another one in its place, which has ended.
  void StartProcess() {
    process_.reset();
    process_ = StartSleeping("sh", "-uuid", kDomain.uuid);
    std::ofstream(directory_.Path("qemu/web1.pid")) << process_->pid() << "\n";
  }
  void KillProcess() {
    kill(process_->pid(), SIGKILL);
    process_->AwaitEnd();
    Step();
  }
  void LoseLibvirt() {
    libvirt_->SetOpenError(absl::UnavailableError("it is restarted"));
    libvirt_->Close("libvirt closed the connection");
    ASSERT_TRUE(UntilConnected(false));
  }
  // The end of its process is published before libvirt is back.
  void EndWhileLibvirtIsLost() {
    StartWithDomain();
    LoseLibvirt();
    process_.reset();
    ASSERT_TRUE(UntilCount(EventType::kStopped));
  }

  std::unique_ptr<Child> process_;
};

}  // namespace vmeventd
