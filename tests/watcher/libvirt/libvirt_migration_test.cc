// Domains that migrate, at the border of libvirt: docs/libvirt.md has what a real one says.

#include <string>

#include "gtest/gtest.h"
#include "tests/watcher/libvirt/libvirt_source_test.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/session/classification.h"

namespace vmeventd {
namespace {

class LibvirtMigrationTest : public LibvirtSourceTest {
 protected:
  void Migration(const std::string& status) {
    libvirt_->Qmp(kDomain, "MIGRATION", R"({"status":")" + status + "\"}");
  }
  // The rule of the end of a QEMU that went without a word.
  std::string RuleOfAFailure() {
    libvirt_->Stopped(kDomain, ManagerEnd::kFailed, "stopped, failed");
    EXPECT_TRUE(UntilCount(EventType::kStopped));
    return LastStopped().shutdown->rule;
  }
};

TEST_F(LibvirtMigrationTest, ATargetThatIsListedHasNotRun) {
  libvirt_->SetActive({{kDomain, "inmigrate"}});
  StartConnected();
  EXPECT_EQ(RuleOfAFailure(), "never-ran");
}

TEST_F(LibvirtMigrationTest, ATargetWhoseMigrationBeginsHasNotRun) {
  StartConnected();
  Migration("setup");
  libvirt_->Started(kDomain, /*incoming=*/true);
  Migration("active");
  Migration("failed");
  EXPECT_EQ(RuleOfAFailure(), "never-ran");
}

TEST_F(LibvirtMigrationTest, ATargetThatStartsHasNotRun) {
  StartConnected();
  libvirt_->Started(kDomain, /*incoming=*/true);
  EXPECT_EQ(RuleOfAFailure(), "never-ran");
}

TEST_F(LibvirtMigrationTest, ATargetThatHasArrivedRuns) {
  StartConnected();
  Migration("setup");
  libvirt_->Started(kDomain, /*incoming=*/true);
  Migration("active");
  Migration("completed");
  libvirt_->Qmp(kDomain, "RESUME");
  EXPECT_EQ(RuleOfAFailure(), "unobserved");
}

TEST_F(LibvirtMigrationTest, ASourceThatFailsInItsLastPassMayLiveOn) {
  StartConnected();
  StartDomain();
  Migration("setup");
  Migration("active");
  libvirt_->Qmp(kDomain, "STOP");
  EXPECT_EQ(RuleOfAFailure(), "migration-unfinished");
}

TEST_F(LibvirtMigrationTest, APausedSourceThatFailsAfterItsMigrationMayLiveOn) {
  StartConnected();
  StartDomain();
  libvirt_->Qmp(kDomain, "STOP");
  Migration("setup");
  Migration("active");
  Migration("completed");
  EXPECT_EQ(RuleOfAFailure(), "migration-unfinished");
}

TEST_F(LibvirtMigrationTest, ASourceThatIsFoundWhileItMigratesMayLiveOn) {
  libvirt_->SetActive({{kDomain, "running"}});
  StartConnected();
  ASSERT_TRUE(UntilCount(EventType::kStarted));
  libvirt_->Qmp(kDomain, "STOP");
  Migration("pre-switchover");
  EXPECT_EQ(RuleOfAFailure(), "migration-unfinished");
}

TEST_F(LibvirtMigrationTest, ASourceThatIsFoundInItsLastPassMayLiveOn) {
  libvirt_->SetActive({{kDomain, "finish-migrate"}});
  StartConnected();
  EXPECT_EQ(RuleOfAFailure(), "migration-unfinished");
}

TEST_F(LibvirtMigrationTest, ADaemonThatStartsAgainKnowsTheMigration) {
  StartConnected();
  StartDomain();
  Migration("active");
  ASSERT_TRUE(UntilCount(EventType::kMigration));
  libvirt_->SetActive({{kDomain, "running"}});
  Restart();
  ASSERT_TRUE(UntilConnected());
  libvirt_->Qmp(kDomain, "STOP");
  EXPECT_EQ(RuleOfAFailure(), "migration-unfinished");
}

TEST_F(LibvirtMigrationTest, AnAbortedMigrationChangesNothing) {
  StartConnected();
  StartDomain();
  Migration("setup");
  Migration("active");
  libvirt_->Qmp(kDomain, "STOP");
  Migration("failed");
  libvirt_->Qmp(kDomain, "RESUME");
  libvirt_->Qmp(kDomain, "STOP");
  EXPECT_EQ(RuleOfAFailure(), "unobserved");
}

// A snapshot with memory, a dump.
TEST_F(LibvirtMigrationTest, AMigrationIntoAFileAfterWhichTheVmGoesOnChangesNothing) {
  StartConnected();
  StartDomain();
  Migration("setup");
  Migration("active");
  libvirt_->Qmp(kDomain, "STOP");
  Migration("completed");
  libvirt_->Qmp(kDomain, "RESUME");
  libvirt_->Qmp(kDomain, "STOP");
  EXPECT_EQ(RuleOfAFailure(), "unobserved");
}

TEST_F(LibvirtMigrationTest, AVmThatIsSavedIsTheAdmins) {
  StartConnected();
  StartDomain();
  libvirt_->Qmp(kDomain, "STOP");
  Migration("setup");
  Migration("active");
  Migration("completed");
  libvirt_->Stopped(kDomain, ManagerEnd::kSaved, "stopped, saved");
  ASSERT_TRUE(UntilCount(EventType::kStopped));
  EXPECT_EQ(LastStopped().shutdown->rule, "manager-saved");
}

TEST_F(LibvirtMigrationTest, AVmThatMigratedIsTheAdmins) {
  StartConnected();
  StartDomain();
  Migration("active");
  libvirt_->Qmp(kDomain, "STOP");
  Migration("completed");
  libvirt_->Stopped(kDomain, ManagerEnd::kMigrated, "stopped, migrated");
  ASSERT_TRUE(UntilCount(EventType::kStopped));
  EXPECT_EQ(LastStopped().shutdown->rule, "migrated-away");
}

}  // namespace
}  // namespace vmeventd
