#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/system.h"
#include "gtest/gtest.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/test_util.h"
#include "watcher/qmp/monitor_connection.h"

namespace vmeventd {

// A monitor of a fake QEMU, our end of it, and what that reports.
template <typename TheClock>
class MonitorFixture : public testing::Test, public MonitorConnection::Delegate {
 protected:
  ~MonitorFixture() override { connection_.reset(); }

  void Connect(CommandLines* command_lines, const FakeMonitor& behavior,
               absl::Duration greeting_timeout = absl::InfiniteDuration()) {
    monitor_ = qemu_.AddMonitor(directory_.Path("m"), behavior);
    SocketFile file;
    UniqueFd socket;
    ASSERT_EQ(OpenSocketFile(directory_.Path("m"), &file), 0);
    ASSERT_EQ(ConnectTo(file, &socket), 0);
    connection_ = std::make_unique<MonitorConnection>(
        loop_.get(), ReceivingSocket(std::move(socket), &closer_), &budget_, command_lines, this);
    ASSERT_TRUE(connection_->Start(greeting_timeout).ok());
  }
  bool Until(const std::function<bool()>& done) {
    return StepUntil([this] { loop_->RunOnce(absl::Milliseconds(10)); }, done);
  }

  std::string OnSpeaker(int64_t) override { return ""; }
  void OnGreetingLate() override { ++late_greetings_; }
  void OnReplyLate(bool last) override { late_replies_.push_back(last); }
  void OnReady(const MonitorInfo& info) override { info_ = info; }
  void OnEvent(const QmpEvent& event) override {
    events_.push_back(event.name);
    ready_at_event_ = info_.has_value();
  }
  void OnRunStateReply(absl::string_view state) override { states_.emplace_back(state); }
  void OnGuestAgentReply(const GuestAgentInfo& info) override { agents_.push_back(info); }
  void OnClosed(absl::string_view why, bool protocol_error) override {
    closed_.emplace(why);
    protocol_error_ = protocol_error;
  }

  TempDir directory_;
  TheClock clock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  MonitorBudget budget_;
  FakeQemu qemu_;
  int monitor_ = -1;
  SocketCloser closer_;
  std::unique_ptr<MonitorConnection> connection_;
  int late_greetings_ = 0;
  std::vector<bool> late_replies_;
  std::optional<MonitorInfo> info_;  // once it is ready
  std::vector<std::string> events_;
  bool ready_at_event_ = false;
  std::vector<std::string> states_;
  std::vector<GuestAgentInfo> agents_;
  std::optional<std::string> closed_;
  bool protocol_error_ = false;
};

}  // namespace vmeventd
