#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/watcher/qmp/node_watcher_fixture.h"
#include "watcher/node/node_watcher.h"

namespace vmeventd {

// A daemon that was killed and started again: the new one gets what the sink received to keep.
class RestartTest : public NodeWatcherFixture {
 protected:
  // By run_id, as a journal has it.
  std::map<std::string, std::string> Kept() const {
    std::map<std::string, std::string> kept;
    for (const RecordingSink::Entry& entry : sink_.entries()) {
      if (!entry.update.saved_run.has_value()) continue;
      const std::string run_id(entry.update.status->ref.run_id);
      if (entry.update.saved_run->empty()) {
        kept.erase(run_id);
      } else {
        kept[run_id] = *entry.update.saved_run;
      }
    }
    return kept;
  }
  // The one run that is kept.
  std::string KeptRun() const {
    const auto kept = Kept();
    EXPECT_EQ(kept.size(), 1u);
    return kept.begin()->second;
  }

  // A SHUTDOWN was seen and is kept.
  bool UntilShutdownKept() {
    return Until([this] {
      const auto kept = Kept();
      return std::any_of(kept.begin(), kept.end(), [](const auto& run) {
        return run.second.find("shutdown_json") != std::string::npos;
      });
    });
  }

  // Its last questions, about the guest agent, are answered and kept, of each VM that is followed.
  bool UntilAgentsKnown() {
    return Until([this] {
      const auto kept = Kept();
      return !kept.empty() && std::none_of(kept.begin(), kept.end(), [](const auto& run) {
        return run.second.find("\"unknown\":true") != std::string::npos;
      });
    });
  }

  void Die() {
    watcher_.reset();
    options_.saved_runs.clear();
  }
  // Nothing but `texts` was kept.
  void StartWith(std::vector<std::string> texts) {
    Die();
    options_.saved_runs = std::move(texts);
    Start();
  }
  void Restart() {
    std::vector<std::string> texts;
    for (const auto& [run_id, text] : Kept()) texts.push_back(text);
    StartWith(std::move(texts));
  }
  bool UntilScanned() {
    return Until([&] { return watcher_->first_scan_done(); });
  }
  void RestartUntilScanned() {
    Restart();
    ASSERT_TRUE(UntilScanned());
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
    return std::string(sink_.Latest(vm)->ref.run_id);
  }
  const ShutdownDetail& Stopped() const {
    return *sink_.Last(EventType::kStopped)->update.event->shutdown;
  }
  // One end comes, and no run is kept.
  void ExpectStopped(ShutdownClass shutdown_class, const std::string& rule) {
    ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
    EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
    EXPECT_EQ(Stopped().shutdown_class, shutdown_class);
    EXPECT_EQ(Stopped().rule, rule);
    EXPECT_TRUE(Kept().empty());
  }
  std::string EvidenceText() const {
    std::string text;
    for (const EvidenceEntry& entry : Stopped().evidence) text += entry.what + "; ";
    return text;
  }
};

inline std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from << " in " << text;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

// The same with the number of a member changed.
inline std::string WithNumber(std::string text, const std::string& member,
                              const std::string& number) {
  const std::string key = "\"" + member + "\":";
  const size_t begin = text.find(key) + key.size();
  return text.replace(begin, text.find_first_of(",}", begin) - begin, number);
}

}  // namespace vmeventd
