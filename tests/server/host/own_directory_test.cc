#include "server/host/own_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "server/host/lock_file.h"
#include "tests/support/files.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd {
namespace {

using ::testing::HasSubstr;

TEST(LockFile, IsHeldByOneProcess) {
  const TemporaryDirectory directory;
  const std::string path = directory / "lock";
  absl::StatusOr<UniqueFd> first = LockFile(path);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(e2e::ModeOf(path) & ~0640u, 0);
  EXPECT_THAT(LockFile(path), FailsAs(absl::IsAlreadyExists, path));
  first->Reset();
  EXPECT_TRUE(LockFile(path).ok()) << "a file left behind does not matter";
}

TEST(LockFile, FollowsNoLinkAndCreatesNoDirectory) {
  const TemporaryDirectory directory;
  ASSERT_EQ(symlink("/dev/null", (directory / "lock").c_str()), 0);
  EXPECT_THAT(LockFile(directory / "lock"), Says("symbolic link"));
  EXPECT_TRUE(absl::IsNotFound(LockFile(directory / "none/lock").status()));
}

TEST(Directories, AreMadeWithTheirParents) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(MakeOwnDirectory(directory / "a/b/c").ok());
  EXPECT_EQ(e2e::ModeOf(directory / "a/b/c") & ~0750u, 0);
  EXPECT_TRUE(MakeOwnDirectory(directory / "a/b/c").ok());
}

TEST(Directories, AFileIsRefused) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "file") << "x";
  EXPECT_THAT(MakeOwnDirectory(directory / "file"), Says("Not a directory"));
  EXPECT_THAT(MakeOwnDirectory(directory / "file/below"), Says("Not a directory"));
}

TEST(Directories, AStateDirectoryThatCannotBeMadeNamesTheFlagOfAnother) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "file") << "x";
  EXPECT_TRUE(MakeStateDirectory(directory / "a/b").ok());
  EXPECT_THAT(MakeStateDirectory(directory / "file"),
              FailsAs(absl::IsFailedPrecondition, "--state-dir"));
}

TEST(Directories, ADirectoryInWhichOthersCanReplaceFilesIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a directory away";
  const TemporaryDirectory directory;
  const std::string path = directory / "d";
  ASSERT_TRUE(MakeOwnDirectory(path).ok());
  const struct {
    mode_t mode;
    uid_t uid;
    gid_t gid;
    const char* own;         // fault of a directory for own files; empty: none
    const char* of_sockets;  // fault of one that has a socket next to files of others
  } rows[] = {{0750, 0, 0, "", ""},
              {0777, 0, 0, "chmod o-w", "chmod o-w"},
              {01777, 0, 0, "chmod o-w", ""},  // like /tmp
              {0750, 0, 12345, "", ""},
              {0770, 0, 12345, "chmod g-w", "chmod g-w"},
              {0750, 12345, 0, "12345", "12345"}};
  for (const auto& row : rows) {
    ASSERT_EQ(chown(path.c_str(), row.uid, row.gid), 0);
    ASSERT_EQ(chmod(path.c_str(), row.mode), 0);
    for (const bool others : {false, true}) {
      const std::string fault = others ? row.of_sockets : row.own;
      const absl::Status status = CheckOwner(path, others);
      EXPECT_EQ(status.ok(), fault.empty()) << row.mode << " " << row.gid << ": " << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(fault));
    }
  }
}

}  // namespace
}  // namespace vmeventd
