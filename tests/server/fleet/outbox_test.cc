#include "server/fleet/outbox.h"

#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "tests/support/test_events.h"

namespace vmeventd {
namespace {

class JournalOutboxTest : public testing::Test {
 protected:
  JournalOutboxTest() {
    state_.Push({Update("vm1", EventType::kStarted), Update("vm2", EventType::kStarted)});
  }

  PumpedState state_;
  JournalOutbox outbox_{&state_.log()};
  const std::string journal_ = state_.log().identity()->journal_id;
};

TEST_F(JournalOutboxTest, ReadsOnTheHistoryThread) {
  state_.log().Start(EventLog::Threads::kHistory);
  const auto blocks = outbox_.Read(journal_, 1, 1 << 20);
  ASSERT_TRUE(blocks.ok()) << blocks.status();
  EXPECT_EQ(blocks->front()->first_sequence(), 1u);
  EXPECT_TRUE(outbox_.Read(journal_, 3, 1 << 20)->empty());
  EXPECT_TRUE(absl::IsUnavailable(outbox_.Read("another", 1, 1 << 20).status()));
}

TEST_F(JournalOutboxTest, AStoppedHistoryThreadAnswers) {
  state_.log().Stop();
  EXPECT_TRUE(absl::IsUnavailable(outbox_.Read(journal_, 1, 1 << 20).status()));
}

TEST_F(JournalOutboxTest, WhatWaitsWhenTheHistoryThreadStopsIsAnswered) {
  absl::Status status;
  std::thread reader([&] { status = outbox_.Read(journal_, 1, 1 << 20).status(); });
  state_.log().Stop();
  state_.log().Start(EventLog::Threads::kHistory);  // answers what was posted before the stop
  reader.join();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

TEST_F(JournalOutboxTest, AnInterruptEndsARead) {
  absl::Status status;
  // Nobody answers: the disk hangs.
  std::thread reader([&] { status = outbox_.Read(journal_, 1, 1 << 20).status(); });
  outbox_.Interrupt();
  reader.join();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  // The answer comes after all, and later reads end at once.
  state_.log().StepHistory();
  EXPECT_TRUE(absl::IsCancelled(outbox_.Read(journal_, 1, 1 << 20).status()));
}

TEST_F(JournalOutboxTest, SaysWhatIsNewestAndWhichVmsThereAre) {
  const Outbox::Newest newest = outbox_.newest();
  EXPECT_EQ(newest.sequence, 2u);
  EXPECT_EQ(newest.time, At(0));
  EXPECT_EQ(newest.running_vms, 2u);
  ASSERT_EQ(outbox_.vms().size(), 2u);
  const uint64_t version = outbox_.vms_version();
  state_.Push({Update("vm3", EventType::kStarted)});
  EXPECT_NE(outbox_.vms_version(), version);
}

}  // namespace
}  // namespace vmeventd
