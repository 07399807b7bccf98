#pragma once

#include <sys/types.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/qmp_lines.h"
#include "tests/support/saved_run.h"
#include "tests/watcher/node/node_watcher_fixture.h"

namespace vmeventd {

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

  // The number of whole handshakes that a watcher has made on a monitor.
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
