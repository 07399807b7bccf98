// The host's power fails at any moment of a commit, while the disk is well and while it is full.

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/eventlog/event_log.h"
#include "server/eventlog/file_identity.h"
#include "server/eventlog/journal_rows.h"
#include "tests/support/client_events.h"
#include "tests/support/database_file.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/journal_events.h"
#include "tests/support/manual_clock.h"
#include "tests/support/power_loss_disk.h"
#include "tests/support/pumped_state.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_time.h"
#include "tests/support/vm_updates.h"

namespace vmeventd {
namespace {

class PowerLossTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  PowerLossTest() : random_(GetParam()) {
    disk_ = std::make_unique<PowerLossDisk>();
    pumped_ = std::make_unique<PumpedState>(Ring{}, JournalOptions{});
    directory_ = std::filesystem::path(pumped_->journal_options().path).parent_path();
    disk_->set_before_change([this] {
      if (!looking_ && random_() % kChangesALoss == 0) LookAfterPowerLoss();
    });
    pumped_->log().Subscribe([this](bool published) {
      if (published) LookAfterPowerLoss();
    });
  }

  // The members close the journal after this, one by one.
  void TearDown() override {
    disk_->set_before_change([] {});
  }

  // What a client has seen by now.
  std::vector<v1::Event> Seen() const {
    const ReadResult read = pumped_->log().Read(1, 1 << 30);
    std::vector<v1::Event> events = EventsOf(read.events);
    for (v1::Event& event : events) event.set_durable(event.sequence() <= read.range.committed);
    return events;
  }

  // The next start finds what a client has seen as durable, and gives no sequence again.
  void LookAfterPowerLoss() {
    looking_ = true;
    faults_.Pause(true);
    ++losses_;
    const std::string there = crashed_.path();
    disk_->CutPower(directory_, there, random_);
    const std::string path = there + "/journal.db";
    // Records the identity of the moved files, so that they do not count as a copy.
    struct stat info {};
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    const absl::Status same = ExecuteSql(
        path,
        absl::StrCat("UPDATE meta SET value = '", FileIdentity(path), "' WHERE key = 'file'"));
    ASSERT_TRUE(same.ok()) << same;
    {
      const ManualClock clock;
      const auto log = EventLog::Open({.journal = {.path = path}}, &clock);
      ASSERT_TRUE(log.ok()) << log.status();
      ASSERT_EQ((*log)->identity().journal_id, kJournal);
      const std::vector<v1::Event> seen = Seen();
      const uint64_t last_seen = seen.empty() ? 0 : seen.back().sequence();
      while ((*log)->StepWriter()) {
      }
      (*log)->Step();
      EXPECT_GT((*log)->range().newest, last_seen) << "a sequence is given again";
      ExpectKept(path, seen);
    }
    faults_.Pause(false);
    looking_ = false;
  }

  static void ExpectKept(const std::string& path, const std::vector<v1::Event>& seen) {
    const auto reader = JournalReader::Open(path);
    ASSERT_TRUE(reader.ok()) << reader.status();
    const auto events = JournalEvents(reader->get());
    ASSERT_TRUE(events.ok()) << events.status();
    std::map<uint64_t, std::string> kept;
    std::vector<std::pair<uint64_t, uint64_t>> missing;
    for (const v1::Event& event : *events) {
      kept[event.sequence()] = event.SerializeAsString();
      if (event.has_missing())
        missing.emplace_back(event.missing().first(), event.missing().last());
    }
    for (const v1::Event& event : seen) {
      const auto found = kept.find(event.sequence());
      if (event.durable()) {
        ASSERT_NE(found, kept.end()) << "a durable event is lost";
        EXPECT_EQ(found->second, event.SerializeAsString());
      } else if (found == kept.end()) {
        EXPECT_TRUE(std::any_of(missing.begin(), missing.end(),
                                [&](const auto& range) {
                                  return range.first <= event.sequence() &&
                                         event.sequence() <= range.second;
                                }))
            << "no GAP names the event " << event.sequence();
      }
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

TEST_P(PowerLossTest, LosesNothingDurableAndReusesNoSequence) {
  for (int i = 0; i < 15 && !HasFatalFailure(); ++i) {
    const uint64_t dice = random_() % 10;
    if (dice == 0) faults_.Fail(SQLITE_FULL, static_cast<int>(random_() % 20));
    if (dice >= 7) {
      faults_.Fail(SQLITE_OK);
      pumped_->clock().Advance(absl::Seconds(10));
    }
    VmUpdate update = Update("a", EventType::kReset);
    update.event->set_detail_json(std::string(random_() % 3'000, 'x'));
    update.saved_run = std::string(random_() % 500, 'y');
    pumped_->Push(std::vector<VmUpdate>(1 + random_() % 10, update));
    LookAfterPowerLoss();
  }
  EXPECT_GT(losses_, 15);
}

TEST(PowerLoss, ACommitThatTheNextStartReadsSurvivesAPowerLoss) {
  const PowerLossDisk disk;
  const TemporaryDirectory directory;
  const JournalOptions options{.path = directory / "journal.db"};
  // A daemon that is killed between the write and the sync of a commit closes nothing.
  const auto killed = Journal::OpenLate(options, {kJournal, 0});
  ASSERT_TRUE(killed.ok()) << killed.status();
  const absl::Status commit =
      ExecuteSql(options.path,
                 "PRAGMA synchronous = OFF; INSERT INTO meta(key, value) VALUES('new', 'there')");
  ASSERT_TRUE(commit.ok()) << commit;
  const auto started = Journal::Open(options, At(0));
  ASSERT_TRUE(started.ok()) << started.status();
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const TemporaryDirectory after;
    std::mt19937_64 random(seed);
    disk.CutPower(directory.path(), after.path(), random);
    SqliteDatabase database(after / "journal.db");
    EXPECT_EQ(QueryMeta(database, "new").value_or("gone"), "there");
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, PowerLossTest, testing::Range(uint64_t{1}, uint64_t{9}),
                         [](const auto& seed) { return absl::StrCat("Seed", seed.param); });

}  // namespace
}  // namespace vmeventd
