// examples/python/follow_vms.py: its record equals the journal, whatever fails.

#include <sqlite3.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/test_certificates.h"
#include "tests/support/wait.h"
#include "tests/system/chatty_vm.h"
#include "tests/system/journal_test_base.h"
#include "tests/system/small_disk.h"

namespace vmeventd::e2e {
namespace {

namespace fs = std::filesystem;
using testing::IsEmpty;

using Rows = std::vector<std::vector<std::string>>;

class FollowVmsTest : public JournalTestBase {
 protected:
  ~FollowVmsTest() override {
    follower_.reset();
    if (HasFailure()) std::cerr << "the follower says:\n" << ReadFile(errors()) << std::endl;
  }

  std::string record() const { return dir() / "record.db"; }
  std::string errors() const { return dir() / "follower-errors"; }

  void StartFollower(std::vector<std::string> options = {"--start", "oldest"},
                     std::string server = "") {
    if (server.empty()) server = "unix:" + Options().socket;
    ChildOptions child;
    // Debian's Python, which has the packages. Its output is discarded.
    child.arguments = {"sh",
                       "-c",
                       "exec \"$0\" \"$@\" >/dev/null",
                       "/usr/bin/python3",
                       absl::StrCat(VMEVENTD_SOURCE_DIR, "/examples/python/follow_vms.py"),
                       "--server",
                       server,
                       "--record",
                       record()};
    child.arguments.insert(child.arguments.end(), options.begin(), options.end());
    child.environment = {absl::StrCat("PYTHONPATH=", VMEVENTD_PYTHON_STUBS),
                         "PYTHONDONTWRITEBYTECODE=1"};
    child.error_file = errors();
    follower_ = std::make_unique<ChildProcess>(child);
  }
  ChildProcess& follower() { return *follower_; }

  // The rows of the record; none if it does not exist yet.
  Rows Query(const std::string& sql) const {
    Rows rows;
    sqlite3* database = nullptr;
    sqlite3_open_v2(record().c_str(), &database, SQLITE_OPEN_READWRITE, nullptr);
    sqlite3_busy_timeout(database, 5000);
    const auto add_row = [](void* out, int columns, char** values, char** /*names*/) {
      std::vector<std::string> row;
      row.reserve(static_cast<size_t>(columns));
      for (int i = 0; i < columns; ++i) row.emplace_back(values[i] == nullptr ? "" : values[i]);
      static_cast<Rows*>(out)->push_back(std::move(row));
      return 0;
    };
    sqlite3_exec(database, sql.c_str(), add_row, &rows, nullptr);
    sqlite3_close(database);
    return rows;
  }
  uint64_t Recorded() const {
    const Rows rows = Query("SELECT count(*) FROM events");
    return rows.empty() ? 0 : std::stoull(rows[0][0]);
  }
  Rows Gaps() const { return Query("SELECT why FROM gaps"); }
  // Waits until the record has the daemon's newest sequence.
  void WaitCaughtUp() {
    WaitUntil("the follower has caught up", [this] {
      const v1::GetServerInfoResponse info = daemon().GetServerInfo();
      return Query("SELECT journal_id, sequence FROM position") ==
             Rows{{info.journal_id(), absl::StrCat(info.newest_sequence())}};
    });
  }
  // Expects each event of the daemon's journal once in the record, and no others of that journal.
  void ExpectRecordIsTheJournal() {
    Rows expected;
    for (const v1::Event& event : daemon().ListEvents()) {
      expected.push_back({absl::StrCat(event.sequence()), v1::EventType_Name(event.type()),
                          event.vm().run_id(), "0"});
    }
    const Rows recorded = Query(
        absl::StrCat("SELECT sequence, type, run_id, provisional FROM events WHERE journal_id = '",
                     daemon().GetServerInfo().journal_id(), "' ORDER BY sequence"));
    ASSERT_EQ(recorded.size(), expected.size());
    for (size_t i = 0; i < recorded.size(); ++i) ASSERT_EQ(recorded[i], expected[i]);
  }

 private:
  std::unique_ptr<ChildProcess> follower_;
};

TEST_F(FollowVmsTest, ARestartOfTheDaemonLosesAndRepeatsNothing) {
  auto vm = std::make_unique<ChattyVm>(watch_dir(), "vm1");
  StartDaemon();
  StartFollower();
  vm->Send(200);
  WaitUntil("it has recorded some events", [this] { return Recorded() > 0; });
  KillDaemon();
  StartDaemon();
  vm->Send(200);
  WaitCaughtUp();
  EndDaemon(SIGTERM);
  StartDaemon();
  vm->Send(200);
  vm.reset();
  WaitUntil("its end is published, and so all of it",
            [this] { return daemon().ListEvents().back().type() == v1::EVENT_TYPE_STOPPED; });
  WaitCaughtUp();
  ExpectRecordIsTheJournal();
  EXPECT_THAT(Gaps(), IsEmpty());
}

TEST_F(FollowVmsTest, AKilledFollowerResumesAtItsPosition) {
  ChattyVm vm(watch_dir(), "vm1");
  StartDaemon();
  for (int round = 0; round < 5; ++round) {
    const uint64_t before = Recorded();
    vm.Send(1000);
    StartFollower();
    WaitUntil("it has recorded some events", [&] { return Recorded() > before; });
    follower().Signal(SIGKILL);
    follower().Wait();
  }
  StartFollower();
  WaitNewest(5001);
  WaitCaughtUp();
  ExpectRecordIsTheJournal();
  EXPECT_THAT(Gaps(), IsEmpty());
}

TEST_F(FollowVmsTest, StopsWithoutATraceback) {
  StartDaemon();
  StartFollower();
  WaitUntil("it has begun", [this] { return !Query("SELECT 1 FROM position").empty(); });
  follower().Signal(SIGTERM);
  EXPECT_EQ(follower().Wait(), 0);
  EXPECT_EQ(ReadFile(errors()), "");
}

TEST_F(FollowVmsTest, UsesTlsWithAClientCertificate) {
  const auto authority = MakeCertificateAuthority(dir() / "");
  const CertificateFiles server = authority->Issue(ServerCertificate());
  const CertificateFiles own = authority->Issue(ClientCertificate("spiffe://test/follower"));
  ChattyVm vm(watch_dir(), "vm1");
  StartDaemon(Options({"--listen", "127.0.0.1:0", "--tls-cert", server.certificate, "--tls-key",
                       server.key, "--tls-client-ca", authority->certificate()}));
  // The key is missing at first, as while files are replaced.
  fs::rename(own.key, own.key + ".later");
  StartFollower({"--start", "oldest", "--tls-ca", authority->certificate(), "--tls-cert",
                 own.certificate, "--tls-key", own.key},
                LoopbackAddress());
  WaitUntil("it reports the missing key",
            [&] { return ReadFile(errors()).find("No such file") != std::string::npos; });
  fs::rename(own.key + ".later", own.key);
  vm.Send(10);
  WaitNewest(11);
  WaitCaughtUp();
  ExpectRecordIsTheJournal();
}

class FollowVmsFullDiskTest : public OnSmallDisk<FollowVmsTest> {
 protected:
  FollowVmsFullDiskTest() : OnSmallDisk("8m") {}

  // Fills it until the journal cannot be written and the follower has received such an event.
  void FillUntilNotDurable(ChattyVm* vm) {
    WaitUntil("something is not durable", [&] {
      std::ofstream(filler(), std::ios::app) << std::string(1 << 20, 'x');
      vm->Send(100);
      sent_ += 100;
      return !Query("SELECT 1 FROM events WHERE provisional LIMIT 1").empty();
    });
  }

  uint64_t sent_ = 0;
};

TEST_F(FollowVmsFullDiskTest, EventsAreReadAgainOnceTheyAreDurable) {
  ChattyVm vm(watch_dir(), "vm1");
  StartDaemon();
  StartFollower();
  FillUntilNotDurable(&vm);
  EXPECT_EQ(Query("SELECT (SELECT sequence + 1 FROM position) = "
                  "(SELECT min(sequence) FROM events WHERE provisional)"),
            (Rows{{"1"}}))
      << "the position is just before the first provisional event";
  fs::remove(filler());
  WaitUntil("the journal is written again",
            [this] { return daemon().GetServerInfo().journal_writable(); });
  WaitNewest(sent_ + 1);
  WaitCaughtUp();
  ExpectRecordIsTheJournal();
  EXPECT_THAT(Gaps(), IsEmpty());
}

}  // namespace
}  // namespace vmeventd::e2e
