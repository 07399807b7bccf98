// How long one monitor may keep the loop, by a clock that only the handling of lines moves.

#include <algorithm>
#include <array>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/test_util.h"
#include "tests/watcher/qmp/monitor_fixture.h"
#include "watcher/qmp/monitor_connection.h"

namespace vmeventd {
namespace {

constexpr char kLine[] =
    "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"X\"}\r\n";
constexpr absl::Duration kCost = absl::Milliseconds(1);
// What fits into a slice, and the line at which it is seen that it is used up.
const int kLinesOfASlice = static_cast<int>(OwnerBudget::kSlice / kCost) + 1;

std::string Events(int count) {
  std::string events;
  for (int i = 0; i < count; ++i) events += kLine;
  return events;
}

// Each event that is handled takes `cost`.
class Monitor : public TestMonitor {
 public:
  Monitor(EventLoop* loop, ManualClock* clock, OwnerBudget* budget, const std::string& path,
          absl::Duration cost)
      : clock_(clock), cost_(cost) {
    Connect(loop, budget, nullptr, path);
  }

  // Is in the socket, or waits in the fake for room there, when it returns.
  void Send(int count) { qemu_.Send(monitor_, Events(count)); }
  void SendPart() { qemu_.Send(monitor_, std::string(kLine).substr(0, 10)); }
  void SendRest() { qemu_.Send(monitor_, std::string(kLine).substr(10)); }
  void StartDrain() { connection_->StartDrain(); }

  bool ready() const { return info_.has_value(); }
  int events() const { return static_cast<int>(events_.size()); }
  int cut_short() const { return cut_short_; }
  int drained() const { return drained_; }
  std::string closed() const { return closed_.value_or(""); }

 private:
  void OnEvent(const QmpEvent& event) override {
    RecordingDelegate::OnEvent(event);
    clock_->Advance(cost_);
  }

  ManualClock* const clock_;
  const absl::Duration cost_;
};

class MonitorSlicesTest : public testing::Test {
 protected:
  std::unique_ptr<Monitor> Connect(absl::Duration cost) {
    const std::string path = directory_.Path("m" + std::to_string(++monitors_));
    auto monitor = std::make_unique<Monitor>(loop_.get(), &clock_, &budget_, path, cost);
    EXPECT_TRUE(StepUntil(
        [this] {
          loop_->RunOnce(absl::Milliseconds(10));
          clock_.Advance(absl::Milliseconds(1));  // the commands of the handshake are spaced
        },
        [&] { return monitor->ready(); }));
    return monitor;
  }
  // One turn; time passes in it for what it handles, or a millisecond for nothing.
  void Turn() {
    const absl::Duration before = Now();
    loop_->RunOnce(absl::ZeroDuration());
    if (Now() == before) clock_.Advance(absl::Milliseconds(1));
  }
  absl::Duration Now() const { return clock_.Now().monotonic; }

  TempDir directory_;
  ManualClock clock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  OwnerBudget budget_{loop_.get()};
  int monitors_ = 0;
};

TEST_F(MonitorSlicesTest, AFloodIsHandledInSlicesBetweenWhichItPauses) {
  constexpr int kFlood = 1000;
  const auto monitor = Connect(kCost);
  const absl::Duration began = Now();
  monitor->Send(kFlood);
  ASSERT_TRUE(StepUntil(
      [&] {
        const int before = monitor->events();
        Turn();
        ASSERT_LE(monitor->events() - before, kLinesOfASlice);
      },
      [&] { return monitor->events() == kFlood; }));
  const int parts = OwnerBudget::kPausePerWork;  // of the time, for one of work
  EXPECT_GE(Now() - began, kFlood * kCost * parts);
}

TEST_F(MonitorSlicesTest, ADrainIsHandledInSlicesToItsEnd) {
  constexpr int kFlood = 300;  // takes 1.2 s with its pauses
  const auto monitor = Connect(kCost);
  monitor->Send(kFlood);
  monitor->StartDrain();
  EXPECT_LE(monitor->events(), kLinesOfASlice);
  ASSERT_TRUE(StepUntil(
      [&] {
        const int before = monitor->events();
        Turn();
        ASSERT_LE(monitor->events() - before, kLinesOfASlice);
      },
      [&] { return monitor->drained() == 1; }));
  EXPECT_EQ(monitor->events(), kFlood);
  EXPECT_EQ(monitor->cut_short(), 0);
}

TEST_F(MonitorSlicesTest, ADrainThatTakesTooLongIsCutShort) {
  constexpr int kFlood = 2000;
  const auto monitor = Connect(kCost);
  monitor->Send(kFlood);
  const absl::Duration began = Now();
  monitor->StartDrain();
  ASSERT_TRUE(StepUntil([&] { Turn(); }, [&] { return monitor->drained() == 1; }));
  EXPECT_EQ(monitor->cut_short(), 1);
  EXPECT_LT(monitor->events(), kFlood);
  const absl::Duration slice = kLinesOfASlice * kCost;
  EXPECT_LE(Now() - began, MonitorConnection::kMaxDrainTime +
                               slice * (1 + OwnerBudget::kPausePerWork) + absl::Milliseconds(1));
}

TEST_F(MonitorSlicesTest, ALineHasToEndInTime) {
  const auto in_time = Connect(absl::ZeroDuration());
  const auto late = Connect(absl::ZeroDuration());
  in_time->SendPart();
  late->SendPart();
  ASSERT_TRUE(StepUntil([&] { Turn(); }, [&] { return budget_.held() > 20; }));
  clock_.Advance(MonitorConnection::kLineTimeout - absl::Seconds(1));
  in_time->SendRest();
  ASSERT_TRUE(StepUntil([&] { Turn(); }, [&] { return in_time->events() == 1; }));
  in_time->SendPart();
  Turn();
  clock_.Advance(absl::Seconds(2));
  ASSERT_TRUE(StepUntil([&] { Turn(); }, [&] { return !late->closed().empty(); }));
  EXPECT_EQ(late->closed(), "a line that has not ended after 10 s");
  EXPECT_EQ(in_time->closed(), "");
}

TEST_F(MonitorSlicesTest, BesideFiveFloodsAnEventIsHandledWithin50Milliseconds) {
  std::array<std::unique_ptr<Monitor>, 5> hostile;
  for (auto& monitor : hostile) monitor = Connect(kCost);
  const auto honest = Connect(absl::ZeroDuration());
  for (const auto& monitor : hostile) monitor->Send(2000);
  absl::Duration latest;
  for (int round = 1; round <= 50; ++round) {
    for (int i = 0; i < 7; ++i) Turn();
    honest->Send(1);
    const absl::Duration sent = Now();
    ASSERT_TRUE(StepUntil([&] { Turn(); }, [&] { return honest->events() == round; }));
    latest = std::max(latest, Now() - sent);
  }
  EXPECT_LE(latest, absl::Milliseconds(50));
  for (const auto& monitor : hostile) EXPECT_GT(monitor->events(), 10) << "it is served, too";
}

}  // namespace
}  // namespace vmeventd
