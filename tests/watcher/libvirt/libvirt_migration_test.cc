// Domains that migrate, at the border of libvirt: docs/internals/libvirt.md has what a real one
// says.

#include <string>

#include "gtest/gtest.h"
#include "tests/watcher/libvirt/libvirt_source_test.h"
#include "tests/watcher/libvirt/test_domains.h"
#include "watcher/libvirt/libvirt_api.h"

namespace vmeventd {
namespace {

// A QEMU that ends without a word, after what libvirt has reported of it.
struct LostQemu {
  const char* name;
  const char* listed;  // its state in the first list; null: it begins later
  // "incoming", "outgoing": it starts as the target of a migration, or runs; an event of QEMU; or a
  // status of the migration.
  std::vector<std::string> reports;
  const char* rule;
};

const LostQemu kLost[] = {
    {"ATargetThatIsListedHasNotRun", "inmigrate", {}, "never-ran"},
    {"ATargetThatStartsHasNotRun", nullptr, {"incoming"}, "never-ran"},
    {"ATargetWhoseMigrationBeginsHasNotRun",
     nullptr,
     {"setup", "incoming", "active", "failed"},
     "never-ran"},
    {"ADomainThatWasStoppedBeforeItsStartIsReportedHasRun",
     nullptr,
     {"STOP", "incoming"},
     "unobserved"},
    {"ATargetThatHasArrivedRuns",
     nullptr,
     {"setup", "incoming", "active", "completed", "RESUME"},
     "unobserved"},
    {"ASourceThatFailsInItsLastPassMayLiveOn",
     nullptr,
     {"outgoing", "setup", "active", "STOP"},
     "migration-unfinished"},
    {"APausedSourceThatFailsAfterItsMigrationMayLiveOn",
     nullptr,
     {"outgoing", "STOP", "setup", "active", "completed"},
     "migration-unfinished"},
    {"ASourceThatIsFoundWhileItMigratesMayLiveOn",
     "running",
     {"STOP", "pre-switchover"},
     "migration-unfinished"},
    {"ASourceThatIsFoundInItsLastPassMayLiveOn", "finish-migrate", {}, "migration-unfinished"},
    {"AnAbortedMigrationChangesNothing",
     nullptr,
     {"outgoing", "setup", "active", "STOP", "failed", "RESUME", "STOP"},
     "unobserved"},
    // A snapshot with memory, a dump.
    {"AMigrationIntoAFileAfterWhichTheVmResumesChangesNothing",
     nullptr,
     {"outgoing", "setup", "active", "STOP", "completed", "RESUME", "STOP"},
     "unobserved"},
};

class LibvirtMigrationTest : public LibvirtSourceTest {
 protected:
  void Report(const std::string& what) {
    if (what == "incoming") {
      libvirt_->Started(kDomain, /*incoming=*/true);
    } else if (what == "outgoing") {
      StartDomain();
    } else if (what == "STOP" || what == "RESUME") {
      libvirt_->Qmp(kDomain, what);
    } else {
      libvirt_->Qmp(kDomain, "MIGRATION", R"({"status":")" + what + "\"}");
    }
  }
  // The domain ends like that. Returns the rule that matched.
  std::string RuleOf(ManagerEnd end) {
    libvirt_->Stopped(kDomain, end, "stopped");
    EXPECT_TRUE(UntilCount(EventType::kStopped));
    return LastStopped().shutdown().rule();
  }
};

class LibvirtLostMigrationTest : public LibvirtMigrationTest,
                                 public testing::WithParamInterface<LostQemu> {};

TEST_P(LibvirtLostMigrationTest, IsClassified) {
  if (GetParam().listed != nullptr) libvirt_->SetActive({{kDomain, GetParam().listed}});
  StartConnected();
  for (const std::string& what : GetParam().reports) Report(what);
  EXPECT_EQ(RuleOf(ManagerEnd::kFailed), GetParam().rule);
}

INSTANTIATE_TEST_SUITE_P(Qemus, LibvirtLostMigrationTest, testing::ValuesIn(kLost),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_F(LibvirtMigrationTest, ADaemonThatStartsAgainKnowsTheMigration) {
  StartWithDomain();
  Report("active");
  ASSERT_TRUE(UntilCount(EventType::kMigration));
  libvirt_->SetActive({{kDomain, "running"}});
  RestartConnected();
  Report("STOP");
  EXPECT_EQ(RuleOf(ManagerEnd::kFailed), "migration-unfinished");
}

}  // namespace
}  // namespace vmeventd
