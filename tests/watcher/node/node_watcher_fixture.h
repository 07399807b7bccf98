#pragma once

#include <sys/types.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/problem_texts.h"
#include "tests/support/saved_run.h"
#include "tests/support/test_util.h"
#include "watcher/core/watch_spec.h"
#include "watcher/node/node_watcher.h"
#include "watcher/runs/previous_runs.h"
#include "watcher/runs/watcher_options.h"

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
  // The same while the test's own clock goes on.
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
  TempDir directory_;
  SystemClock clock_;
  ManualClock manual_clock_;
  RecordingSink sink_;
  WatcherOptions options_;
  PreviousRuns previous_;
  std::unique_ptr<NodeWatcher> watcher_;
};

// A daemon that was killed and started again: the new one gets what the sink received to keep.
class RestartTest : public NodeWatcherFixture {
 protected:
  std::map<std::string, std::string> SavedRuns() const { return sink_.SavedRuns(); }
  std::vector<std::string> SavedTexts() const {
    std::vector<std::string> texts;
    for (const auto& [run_id, text] : SavedRuns()) texts.push_back(text);
    return texts;
  }
  // The one run that is saved.
  std::string SavedRun() const {
    const auto saved = SavedRuns();
    EXPECT_EQ(saved.size(), 1u);
    return saved.begin()->second;
  }

  // A SHUTDOWN was seen and is saved.
  bool UntilShutdownSaved() {
    return Until([this] {
      const auto saved = SavedRuns();
      return std::any_of(saved.begin(), saved.end(), [](const auto& run) {
        return ParseSaved(run.second).evidence().facts().has_shutdown();
      });
    });
  }

  // Follows a VM of `qemu` until its SHUTDOWN is saved. Returns its monitor.
  int FollowUntilShutdown(FakeQemu* qemu, const std::string& line = kGuestShutdownLine) {
    const int monitor = Follow(qemu);
    qemu->Send(monitor, line);
    EXPECT_TRUE(UntilShutdownSaved());
    return monitor;
  }

  // Waits until each followed VM has answered the last questions, about the guest agent, and the
  // answers are saved.
  bool UntilAgentsKnown() {
    return Until([this] {
      const auto saved = SavedRuns();
      return !saved.empty() && std::none_of(saved.begin(), saved.end(), [](const auto& run) {
        return ParseSaved(run.second).agent().unknown();
      });
    });
  }

  void Die() { watcher_.reset(); }
  // Starts a watcher for which nothing but `texts` was saved.
  void StartWith(std::vector<std::string> texts) {
    Die();
    previous_.saved = std::move(texts);
    Start();
  }
  void Restart() { StartWith(SavedTexts()); }
  bool UntilScanned() {
    return Until([&] { return watcher_->first_scan_done(); });
  }
  void StartUntilScanned(std::vector<std::string> texts) {
    StartWith(std::move(texts));
    ASSERT_TRUE(UntilScanned());
  }
  void RestartUntilScanned() { StartUntilScanned(SavedTexts()); }

  // Returns once the process has ended, and does not reap it.
  static void AwaitEnd(pid_t pid) {
    siginfo_t info;
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  }

  // How often a watcher has asked everything of the handshake on a monitor.
  static size_t Handshakes(FakeQemu& qemu, int monitor) {
    const std::vector<std::string> commands = qemu.Commands(monitor);
    // query-status follows, and is asked at other times too.
    return static_cast<size_t>(
        std::count_if(commands.begin(), commands.end(), [&](const std::string& command) {
          return &command != &commands.back() && command.find("query-name") != std::string::npos;
        }));
  }

  std::string RunId(const std::string& vm) const {
    return std::string(sink_.Latest(vm)->ref().run_id());
  }
  const v1::ShutdownDetail& Stopped() const {
    return sink_.Last(EventType::kStopped)->update.event->shutdown();
  }
  // Expects one end, and that no run is saved.
  void ExpectStopped(ShutdownClass shutdown_class, const std::string& rule) {
    ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
    EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
    EXPECT_EQ(Stopped().shutdown_class(), shutdown_class);
    EXPECT_EQ(Stopped().rule(), rule);
    EXPECT_TRUE(SavedRuns().empty());
  }
  std::string EvidenceText() const {
    std::string text;
    for (const v1::Evidence& entry : Stopped().evidence()) text += entry.what() + "; ";
    return text;
  }
};

}  // namespace vmeventd
