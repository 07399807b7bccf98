#pragma once

#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/test_util.h"
#include "watcher/core/watch_spec.h"
#include "watcher/node/node_watcher.h"

namespace vmeventd {

inline const std::string kGuestShutdownLine =
    EventLine("SHUTDOWN", "{\"guest\": true, \"reason\": \"guest-shutdown\"}");
inline const std::string kQuitLine =
    EventLine("SHUTDOWN", "{\"guest\": false, \"reason\": \"host-qmp-quit\"}");

// A watcher on the directory "ctrl", stepped by the test.
class NodeWatcherFixture : public testing::Test {
 protected:
  NodeWatcherFixture() {
    directory_.MakeDirectory("ctrl");
    options_.watches = {Spec("ctrl")};
    options_.greeting_timeout = absl::Minutes(2);  // a slow machine's fake is not held
  }

  WatchSpec Spec(const std::string& name) const { return {directory_.Path(name), "", ".kvmd"}; }
  std::string Socket(const std::string& vm) const {
    return directory_.Path("ctrl/" + vm + ".kvmd");
  }
  std::string ShutdownFile(const std::string& vm) const {
    return directory_.Path("ctrl/" + vm + ".shutdown");
  }

  void Start() { watcher_ = NodeWatcher::Create(options_, &clock_, &sink_).value(); }
  void StartWithManualClock() {
    watcher_ = NodeWatcher::Create(options_, &manual_clock_, &sink_).value();
  }
  void Turn() { watcher_->RunOnce(absl::Milliseconds(10)); }
  bool Until(const std::function<bool()>& done) {
    return StepUntil([this] { Turn(); }, done);
  }
  // Where the clock is the test's own, time passes as far as the handshake's commands need it.
  bool UntilCount(EventType type, int count) {
    return Until([&] {
      if (sink_.Count(type) >= count) return true;
      if (type == EventType::kStarted || type == EventType::kMonitorRestored) LetCommandsPass();
      return false;
    });
  }
  void LetCommandsPass() { manual_clock_.Advance(absl::Milliseconds(1)); }
  bool UntilState(const std::string& vm, VmState state) {
    return Until([&] {
      const VmStatus* status = sink_.Latest(vm);
      if (status != nullptr && status->state == state) return true;
      LetCommandsPass();
      return false;
    });
  }
  // Follows a VM of `qemu` until it runs. Returns its monitor.
  int Follow(FakeQemu* qemu, const std::string& vm = "vm1") {
    const int monitor = qemu->AddMonitor(Socket(vm));
    if (watcher_ == nullptr) Start();
    EXPECT_TRUE(UntilState(vm, VmState::kRunning));
    return monitor;
  }
  void KillUntilStopped(FakeQemu* qemu) {
    qemu->Kill(SIGKILL);
    ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  }
  void PowerOff(FakeQemu* qemu, int monitor) {
    qemu->Send(monitor, kGuestShutdownLine);
    qemu->Exit();
    ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  }
  // A text that one of the VM's problems holds; empty: it has no problem.
  bool UntilProblem(const std::string& vm, const std::string& part) {
    return Until([&] { return HasProblem(vm, part); });
  }
  void StartUntilHeld() {
    Start();
    ASSERT_TRUE(UntilProblem("vm1", "held by another client"));
  }
  // A text that the problem of a socket without a run holds; empty: the socket is not listed.
  bool UntilUnfollowed(const std::string& vm, const std::string& part) {
    return Until([&] { return IsUnfollowed(vm, part); });
  }
  bool IsUnfollowed(const std::string& vm, const std::string& part) const {
    for (const UnfollowedSocket& socket : watcher_->unfollowed_sockets()) {
      if (socket.name != vm) continue;
      EXPECT_EQ(socket.path, Socket(vm));
      return !part.empty() && socket.problem.find(part) != std::string::npos;
    }
    return part.empty();
  }
  bool HasProblem(const std::string& vm, const std::string& part) const {
    const VmStatus* status = sink_.Latest(vm);
    if (status == nullptr) return false;
    if (part.empty()) return status->problems.empty();
    for (const std::string& problem : status->problems) {
      if (problem.find(part) != std::string::npos) return true;
    }
    return false;
  }
  ShutdownClass LastClass() const {
    return sink_.Last(EventType::kStopped)->update.event->shutdown->shutdown_class;
  }
  // The first end comes, and has this class.
  void ExpectEnd(ShutdownClass shutdown_class) {
    ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
    EXPECT_EQ(LastClass(), shutdown_class);
  }

  FakeQemu qemu_;
  TempDir directory_;
  SystemClock clock_;
  ManualClock manual_clock_;
  RecordingSink sink_;
  WatcherOptions options_;
  std::unique_ptr<NodeWatcher> watcher_;
};

}  // namespace vmeventd
