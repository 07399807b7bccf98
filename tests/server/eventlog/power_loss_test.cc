// The host's power fails at any moment of a commit, while the disk is well and while it is full.

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/eventlog/event_log_parts.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/power_loss_disk.h"
#include "tests/support/test_events.h"

namespace vmeventd {
namespace {

class PowerLossTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  PowerLossTest() : random_(GetParam()) {
    disk_ = std::make_unique<PowerLossDisk>();
    pumped_ = std::make_unique<PumpedState>(LiveStateOptions{}, JournalOptions{});
    directory_ = std::filesystem::path(pumped_->journal_options().path).parent_path();
    disk_->set_before_change([this] {
      if (!looking_ && random_() % kChangesALoss == 0) LookAfterPowerLoss();
    });
    pumped_->log().Subscribe({.published = [this] { LookAfterPowerLoss(); }});
  }

  // The journal is closed behind this, member by member.
  void TearDown() override {
    disk_->set_before_change([] {});
  }

  // What a client has seen by now.
  std::vector<v1::Event> Seen() const {
    return EventsOf(pumped_->log().Read(1, {.max_bytes = 1 << 30}).blocks);
  }

  // The next start finds what a client has seen as durable, and gives no sequence again.
  void LookAfterPowerLoss() {
    looking_ = true;
    faults_.Pause(true);
    ++losses_;
    const std::string there = crashed_.path();
    disk_->CutPower(directory_, there, random_);
    JournalOptions options;
    options.path = there + "/journal.db";
    // The files stand elsewhere than they would: they are no copy.
    const absl::Status forgotten =
        ExecuteSql(options.path, "DELETE FROM meta WHERE key IN ('file', 'generations')");
    ASSERT_TRUE(forgotten.ok()) << forgotten;
    {
      const auto recovered = Recover(options, there + "/sequence", At(0));
      ASSERT_TRUE(recovered.ok()) << recovered.status();
      ASSERT_EQ(recovered->journal->journal_id(), kJournal);
      const std::vector<v1::Event> seen = Seen();
      const uint64_t last_seen = seen.empty() ? 0 : seen.back().sequence();
      EXPECT_GE(recovered->newest, last_seen) << "a sequence is given again";
      ExpectKept(options.path, seen);
      if (last_seen > recovered->journal->newest()) {
        ASSERT_EQ(recovered->gaps.size(), 1u);
        EXPECT_EQ(recovered->gaps[0].missing->first, recovered->journal->newest() + 1);
        EXPECT_GE(recovered->gaps[0].missing->last, last_seen);
      }
    }
    faults_.Pause(false);
    looking_ = false;
  }

  static void ExpectKept(const std::string& path, const std::vector<v1::Event>& seen) {
    const auto reader = JournalReader::Open(path);
    ASSERT_TRUE(reader.ok()) << reader.status();
    const auto page = (*reader)->ReadFrom(1, 1'000'000, 1 << 30);
    ASSERT_TRUE(page.ok()) << page.status();
    std::vector<std::string> kept(1);
    for (const v1::Event& event : EventsOf(page->blocks)) {
      kept.resize(event.sequence() + 1);
      kept[event.sequence()] = event.SerializeAsString();
    }
    for (const v1::Event& event : seen) {
      if (!event.durable()) continue;
      ASSERT_LT(event.sequence(), kept.size()) << "a durable event is lost";
      EXPECT_EQ(kept[event.sequence()], event.SerializeAsString());
    }
  }

  static constexpr uint64_t kChangesALoss = 4;

  std::mt19937_64 random_;
  FaultyDisk faults_;
  std::unique_ptr<PowerLossDisk> disk_;
  std::unique_ptr<PumpedState> pumped_;
  std::string directory_;
  const TemporaryDirectory crashed_;
  bool looking_ = false;
  int losses_ = 0;
};

TEST_P(PowerLossTest, LosesNothingDurableAndGivesNoSequenceAgain) {
  for (int i = 0; i < 15 && !HasFatalFailure(); ++i) {
    const uint64_t dice = random_() % 10;
    if (dice == 0) faults_.Fail(SQLITE_FULL, static_cast<int>(random_() % 20));
    if (dice >= 7) {
      faults_.Fail(SQLITE_OK);
      pumped_->clock().Advance(absl::Seconds(10));
    }
    VmUpdate update = Update("a", EventType::kReset);
    update.event->detail_json = std::string(random_() % 3'000, 'x');
    update.saved_run = std::string(random_() % 500, 'y');
    pumped_->Push(std::vector<VmUpdate>(1 + random_() % 10, update));
    LookAfterPowerLoss();
  }
  EXPECT_GT(losses_, 15);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PowerLossTest, testing::Range(uint64_t{1}, uint64_t{9}),
                         [](const auto& seed) { return absl::StrCat("Seed", seed.param); });

}  // namespace
}  // namespace vmeventd
