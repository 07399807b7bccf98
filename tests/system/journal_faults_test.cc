// A journal that is damaged, or not for this daemon.

#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/wait.h"
#include "tests/system/chatty_vm.h"
#include "tests/system/journal_test_base.h"

namespace vmeventd::e2e {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::SizeIs;

class JournalFaultsTest : public JournalTestBase {
 protected:
  JournalFaultsTest() : vm_(watch_dir(), "vm1") {}

  std::string state_dir() const { return Options().state_dir; }
  std::string journal_path() const { return state_dir() + "/journal.db"; }
  std::string pristine() const { return dir() / "pristine"; }

  enum class Where { kInDatabase, kInLog };

  // Makes a journal with `events` events, and copies all its files. `where`: the place of the
  // newest events.
  void MakeJournal(int events, Where where) {
    StartDaemon();
    vm_.Speak(events);
    WaitNewest(static_cast<uint64_t>(events));
    journal_id_ = daemon().GetServerInfo().journal_id();
    events_ = daemon().ListEvents();
    KillDaemon();
    if (where == Where::kInDatabase) RunSql("PRAGMA wal_checkpoint(TRUNCATE)");
    fs::copy(state_dir(), pristine());
    fs::create_hard_link(journal_path(), same_file());
  }

  void RunSql(const char* sql) const {
    sqlite3* database = nullptr;
    EXPECT_EQ(sqlite3_open(journal_path().c_str(), &database), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(database, sql, nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(database);
    sqlite3_close(database);
  }

  // Restores the journal into the same file: it counts as damaged, not as a copy.
  void RestoreJournal() {
    fs::remove_all(state_dir());
    fs::copy(pristine(), state_dir());
    fs::remove(journal_path());
    fs::create_hard_link(same_file(), journal_path());
    fs::copy_file(pristine() + "/journal.db", journal_path(), fs::copy_options::overwrite_existing);
  }
  std::string same_file() const { return dir() / "journal-file"; }

  static void Overwrite(const std::string& path, uint64_t offset, const std::string& bytes) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset))
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

  // Reads everything that is retained, which may find damage.
  void TryToReadAll() {
    try {
      daemon().ListEvents();
    } catch (const std::exception&) {
      return;
    }
  }

  bool Replaced() { return daemon().GetServerInfo().journal_id() != journal_id_; }

  // The names of the journals that were moved aside, as journal.db.20261126T120000Z.
  std::vector<std::string> OldJournals() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(state_dir())) {
      const std::string name = entry.path().filename();
      const bool part = absl::EndsWith(name, "-wal") || absl::EndsWith(name, "-shm");
      if (absl::StartsWith(name, "journal.db.2") && !part) found.push_back(name);
    }
    return found;
  }
  // The GAPs in the journal that say what became of the one before. After each kill there is
  // another, of the sequences that were reserved.
  int64_t CountGaps() {
    const std::vector<v1::Event> events = daemon().ListEvents();
    return std::count_if(events.begin(), events.end(), [](const v1::Event& event) {
      return !event.has_vm() && event.type() == v1::EVENT_TYPE_GAP && !event.has_missing();
    });
  }

  // Expects that the damaged journal was moved aside, and that a new one began with a GAP. If
  // nothing was left of the old one, there is nothing to move.
  void ExpectNewJournal(const std::string& damage) {
    EXPECT_THAT(OldJournals(), SizeIs(testing::Le(1))) << damage;
    EXPECT_EQ(TryCursor(events_.back().sequence(), journal_id_).error_code(),
              grpc::StatusCode::OUT_OF_RANGE)
        << damage;
    WaitUntil("the GAP is published", [&] { return CountGaps() > 0; });
    EXPECT_EQ(CountGaps(), 1) << damage;
  }

  // Starts the daemon on the present files; it must serve and publish nothing false. Returns
  // whether it began a new journal.
  bool CheckServes(const std::string& damage) {
    StartDaemon();
    // A read or a write finds what the start has not found; the next start replaces the journal
    // then.
    TryToReadAll();
    SpeakDurably();
    const std::string journal_id = daemon().GetServerInfo().journal_id();
    KillDaemon();
    StartDaemon();
    EXPECT_TRUE(SpeakDurably()) << damage;
    const std::vector<v1::Event> retained = daemon().ListEvents();
    const bool replaced = Replaced();
    if (replaced) {
      if (journal_id != journal_id_) {
        EXPECT_EQ(daemon().GetServerInfo().journal_id(), journal_id) << damage;
      }
      ExpectNewJournal(damage);
    } else {
      EXPECT_THAT(retained, SizeIs(testing::Gt(events_.size()))) << damage;
      for (size_t i = 0; i < std::min(retained.size(), events_.size()); ++i) {
        EXPECT_EQ(retained[i].SerializeAsString(), events_[i].SerializeAsString()) << damage;
      }
      EXPECT_THAT(OldJournals(), SizeIs(0)) << damage;
    }
    KillDaemon();
    return replaced;
  }

  // Lets the VM speak once. Returns whether the event was durable when it was published.
  bool SpeakDurably() {
    EventStream live(daemon().channel(), {});
    live.WaitProgress();
    vm_.Speak(1);
    return live.Wait("vm1", v1::EVENT_TYPE_POWERDOWN_REQUESTED).durable();
  }

  void ExpectRefused(const DaemonOptions& options, const std::vector<std::string>& words) {
    const CommandResult result = RunCommand(DaemonCommand(options));
    EXPECT_EQ(result.exit_code, 1);
    for (const std::string& word : words) EXPECT_THAT(result.error, HasSubstr(word));
    EXPECT_THAT(result.error, HasSubstr(options.state_dir));
  }

  ChattyVm vm_;
  std::string journal_id_;
  std::vector<v1::Event> events_;
};

TEST_F(JournalFaultsTest, TruncatedDatabase) {
  MakeJournal(3000, Where::kInDatabase);
  fs::resize_file(journal_path(), fs::file_size(journal_path()) / 2);
  EXPECT_TRUE(CheckServes("cut to its half"));
}

TEST_F(JournalFaultsTest, AnOverwrittenPage) {
  MakeJournal(2000, Where::kInDatabase);
  Overwrite(journal_path(), fs::file_size(journal_path()) / 8192 * 4096, std::string(4096, 'x'));
  EXPECT_TRUE(CheckServes("the page in the middle is overwritten"));
}

TEST_F(JournalFaultsTest, MissingParts) {
  MakeJournal(300, Where::kInLog);
  for (const char* part : {"journal.db", "journal.db-wal", "journal.db-shm"}) {
    RestoreJournal();
    fs::remove(state_dir() + "/" + part);
    EXPECT_EQ(CheckServes(part), !absl::EndsWith(part, "-shm")) << "SQLite makes that one again";
  }
}

TEST_F(JournalFaultsTest, DamageFoundByAReplayDisturbsNoOtherStream) {
  MakeJournal(5000, Where::kInDatabase);
  StartDaemon();
  const uint64_t newest = daemon().GetServerInfo().newest_sequence();
  EventStream live(daemon().channel(), After(newest, journal_id_));
  live.WaitProgress();
  // Everything but the first page.
  Overwrite(journal_path(), 4096, std::string(fs::file_size(journal_path()) - 4096, 'x'));
  EventStream replay(daemon().channel(), FromOldest());
  const grpc::Status end = replay.WaitEnd();
  EXPECT_EQ(end.error_code(), grpc::StatusCode::OUT_OF_RANGE) << end.error_message();
  EXPECT_THAT(end.error_details(), HasSubstr("JOURNAL_DAMAGED"));
  const std::vector<v1::Event> replayed = replay.events();
  for (size_t i = 0; i < replayed.size(); ++i) {
    EXPECT_EQ(replayed[i].SerializeAsString(), events_[i].SerializeAsString());
  }
  vm_.Speak(1);
  EXPECT_FALSE(live.Wait("vm1", v1::EVENT_TYPE_POWERDOWN_REQUESTED).durable());
  EXPECT_FALSE(daemon().GetServerInfo().journal_writable());
  EXPECT_FALSE(Replaced());
  KillDaemon();
  StartDaemon();
  EXPECT_TRUE(Replaced());
  ExpectNewJournal("overwritten while it runs");
  EXPECT_THAT(OldJournals(), SizeIs(1));
}

TEST_F(JournalFaultsTest, RunsOfADamagedJournalContinue) {
  MakeJournal(100, Where::kInDatabase);
  Overwrite(journal_path(), 0, std::string(100, 'x'));
  StartDaemonAndStream();
  const std::string run_id = stream().Wait("vm1", v1::EVENT_TYPE_STARTED).vm().run_id();
  EXPECT_EQ(run_id, events_.back().vm().run_id());
  KillDaemon();
  StartDaemon();
  EXPECT_EQ(daemon().GetVm("vm1").ref().run_id(), run_id);
}

// The state directory's owner and mode.
class StateDirectoryTest : public JournalFaultsTest {
 protected:
  void SetUp() override {
    fs::create_directory(state_dir());
    chmod(state_dir().c_str(), 0750);
  }
};

TEST_F(StateDirectoryTest, WorldWritableIsRefused) {
  chmod(state_dir().c_str(), 0777);
  ExpectRefused(Options(), {"chmod o-w"});
}

TEST_F(StateDirectoryTest, AnotherUsersIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may give a directory away";
  ASSERT_EQ(chown(state_dir().c_str(), 65534, 65534), 0);
  ExpectRefused(Options(), {"65534", "belongs"});
}

TEST_F(StateDirectoryTest, ReadOnlyIsRefused) {
  DaemonOptions options = Options();
  if (geteuid() == 0) {  // root may write everywhere
    options.wrapper = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
    chmod(dir().path().c_str(), 0755);
    ASSERT_EQ(chown(state_dir().c_str(), 65534, 65534), 0);
    options.program = CopyProgram(dir().path());
    options.tuning.clear();
  }
  chmod(state_dir().c_str(), 0550);
  ExpectRefused(options, {"not writable"});
}

}  // namespace
}  // namespace vmeventd::e2e
