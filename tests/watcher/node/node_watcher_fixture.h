#pragma once

#include <sys/types.h>

#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/manual_clock.h"
#include "tests/support/problem_texts.h"
#include "tests/support/qmp_lines.h"
#include "tests/support/recording_sink.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"
#include "watcher/core/watch_spec.h"
#include "watcher/node/node_watcher.h"
#include "watcher/runs/previous_runs.h"
#include "watcher/runs/watcher_options.h"

namespace vmeventd {

// A watcher on the directory "ctrl", stepped by the test.
class NodeWatcherFixture : public testing::Test {
 protected:
  NodeWatcherFixture() {
    directory_.MakeDirectory("ctrl");
    options_.sources.watches = {Spec("ctrl")};
    options_.greeting_timeout =
        absl::Minutes(2);  // on a slow machine a fake does not count as held
    options_.directory_patience = absl::Minutes(1);  // nor does its directory count as hanging
  }

  WatchSpec Spec(const std::string& name) const { return {directory_.Path(name), "*.kvmd"}; }
  std::string Socket(const std::string& vm) const {
    return directory_.Path("ctrl/" + vm + ".kvmd");
  }
  std::string ShutdownFile(const std::string& vm) const {
    return directory_.Path("ctrl/" + vm + ".shutdown");
  }

  // Starts a watcher with `previous_`, which is empty afterwards.
  void StartWithClock(const Clock* clock) {
    watcher_ = NodeWatcher::Create(options_, std::exchange(previous_, {}), clock, &sink_).value();
  }
  void Start() { StartWithClock(&clock_); }
  void StartWithManualClock() { StartWithClock(&manual_clock_); }
  void Turn() { watcher_->RunOnce(absl::Milliseconds(10)); }
  // Runs turns until nothing is due any more.
  void Turns() {
    for (int i = 0; i < 20; ++i) watcher_->RunOnce(absl::ZeroDuration());
  }
  bool Until(const std::function<bool()>& done) {
    return StepUntil([this] { Turn(); }, done);
  }
  // The same while the test's own clock advances.
  bool UntilInTime(const std::function<bool()>& done,
                   absl::Duration step = absl::Milliseconds(100)) {
    return Until([&] {
      manual_clock_.Advance(step);
      return done();
    });
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
      const v1::Vm* status = sink_.Latest(vm);
      if (status != nullptr && status->state() == state) return true;
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
  int FollowWithManualClock() {
    const int monitor = qemu_.AddMonitor(Socket("vm1"));
    StartWithManualClock();
    EXPECT_TRUE(UntilState("vm1", VmState::kRunning));
    return monitor;
  }
  void KillUntilStopped(pid_t pid) {
    kill(pid, SIGKILL);
    ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  }
  void KillUntilStopped(FakeQemu* qemu) { KillUntilStopped(qemu->pid()); }
  void PowerOff(FakeQemu* qemu, int monitor) {
    qemu->Send(monitor, kGuestShutdownLine);
    qemu->Exit();
    ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  }
  // A text that one of the VM's problems holds; empty: it has no problem.
  bool UntilProblem(const std::string& vm, const std::string& part) {
    return Until([&] { return HasProblem(vm, part); });
  }
  void StartUntilRunning() {
    Start();
    ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  }
  void StartUntilHeld() {
    Start();
    ASSERT_TRUE(UntilProblem("vm1", "held by another client"));
  }
  // `part` of "CODE: text" of the problem of a socket without a run; empty: the socket is not
  // listed.
  bool UntilUnfollowed(const std::string& vm, const std::string& part) {
    return Until([&] { return IsUnfollowed(vm, part); });
  }
  bool IsUnfollowed(const std::string& vm, const std::string& part) const {
    const v1::GetServerInfoResponse info = watcher_->Describe();
    for (const v1::UnfollowedSocket& socket : info.unfollowed_sockets()) {
      if (socket.name() != vm) continue;
      EXPECT_EQ(socket.path(), Socket(vm));
      EXPECT_NE(socket.problem().code(), v1::PROBLEM_CODE_UNSPECIFIED);
      return !part.empty() && absl::StrContains(ProblemText(socket.problem()), part);
    }
    return part.empty();
  }
  bool HasProblem(const std::string& vm, const std::string& part) const {
    const v1::Vm* status = sink_.Latest(vm);
    if (status == nullptr) return false;
    if (part.empty()) return status->problems().empty();
    for (const v1::Problem& problem : status->problems()) {
      EXPECT_NE(problem.code(), v1::PROBLEM_CODE_UNSPECIFIED);
      if (absl::StrContains(ProblemText(problem), part)) return true;
    }
    return false;
  }
  v1::ShutdownClass LastClass() const {
    return sink_.Last(EventType::kStopped)->update.event->shutdown().shutdown_class();
  }
  // The first end comes, and has this class.
  void ExpectEnd(ShutdownClass shutdown_class) {
    ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
    EXPECT_EQ(LastClass(), shutdown_class);
  }

  FakeQemu qemu_;
  TemporaryDirectory directory_;
  SystemClock clock_;
  ManualClock manual_clock_;
  RecordingSink sink_;
  WatcherOptions options_;
  PreviousRuns previous_;
  std::unique_ptr<NodeWatcher> watcher_;
};

}  // namespace vmeventd
