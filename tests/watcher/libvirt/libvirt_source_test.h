#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/fake_libvirt.h"
#include "tests/support/recording_sink.h"
#include "tests/support/sources_with_libvirt.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"
#include "tests/watcher/libvirt/shifted_clock.h"
#include "tests/watcher/libvirt/test_domains.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/node/node_watcher.h"
#include "watcher/runs/previous_runs.h"
#include "watcher/runs/watcher_options.h"

namespace vmeventd {

// The fixture of the source "libvirt" with domains that the test plays.
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
  // The same while the clock advances faster.
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
  // The saved state of each open run that the sink has, by run id.
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

  TemporaryDirectory directory_;
  ShiftedClock clock_;
  RecordingSink sink_;
  WatcherOptions options_;
  PreviousRuns previous_;
  std::shared_ptr<FakeLibvirt> libvirt_ = std::make_shared<FakeLibvirt>();
  std::unique_ptr<NodeWatcher> watcher_;
};

}  // namespace vmeventd
