#include "watcher/runs/shutdown_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/files.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;

class ShutdownFileTest : public testing::Test {
 protected:
  struct stat Stat(const std::string& name) {
    struct stat status {};
    EXPECT_EQ(lstat(directory_.Path(name).c_str(), &status), 0);
    return status;
  }
  absl::Status Create(const std::string& name) {
    return CreateShutdownFile(directory_.path(), name);
  }
  absl::Status Delete(const std::string& name) {
    return DeleteShutdownFile(directory_.path(), name);
  }

  TemporaryDirectory directory_;
};

TEST_F(ShutdownFileTest, IsCreatedEmptyAndReadableForAllWhateverTheUmask) {
  const mode_t umask_before = umask(0777);
  const absl::Status status = Create("vm");
  umask(umask_before);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Stat("vm.shutdown").st_mode, static_cast<mode_t>(S_IFREG | 0644));
  EXPECT_EQ(Stat("vm.shutdown").st_size, 0);
}

TEST_F(ShutdownFileTest, AnExistingFileGetsNewTimesAndNothingElse) {
  ASSERT_TRUE(Create("vm").ok());
  const std::string path = directory_.Path("vm.shutdown");
  const timespec old_times[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), old_times, 0), 0);
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  ASSERT_EQ(truncate(path.c_str(), 5), 0);
  ASSERT_TRUE(Create("vm").ok());
  EXPECT_GT(Stat("vm.shutdown").st_mtime, 1000);
  EXPECT_EQ(Stat("vm.shutdown").st_mode & 0777, 0600u);
  EXPECT_EQ(Stat("vm.shutdown").st_size, 5);
}

TEST_F(ShutdownFileTest, ALinkInItsPlaceIsNotFollowed) {
  ASSERT_EQ(symlink(directory_.Path("target").c_str(), directory_.Path("vm.shutdown").c_str()), 0);
  EXPECT_THAT(std::string(Create("vm").message()), HasSubstr("vm.shutdown"));
  EXPECT_FALSE(e2e::Exists(directory_.Path("target")));
  e2e::Touch(directory_.Path("target"));
  EXPECT_FALSE(Create("vm").ok());
  EXPECT_TRUE(Delete("vm").ok());
  EXPECT_FALSE(e2e::Exists(directory_.Path("vm.shutdown")));
  EXPECT_TRUE(e2e::Exists(directory_.Path("target")));
}

TEST_F(ShutdownFileTest, AFifoInItsPlaceIsRefusedAtOnce) {
  ASSERT_EQ(mkfifo(directory_.Path("vm.shutdown").c_str(), 0600), 0);
  EXPECT_FALSE(Create("vm").ok());
  // With a reader the open succeeds, so the file's type is checked as well.
  const int reader = open(directory_.Path("vm.shutdown").c_str(), O_RDONLY | O_NONBLOCK);
  EXPECT_THAT(std::string(Create("vm").message()), HasSubstr("not a regular file"));
  close(reader);
}

TEST_F(ShutdownFileTest, ADirectoryInItsPlaceIsRefused) {
  directory_.MakeDirectory("vm.shutdown");
  EXPECT_FALSE(Create("vm").ok());
  EXPECT_FALSE(Delete("vm").ok());
}

TEST_F(ShutdownFileTest, AFileWithAnotherLinkIsReplacedAndTheOtherLeftAlone) {
  e2e::Touch(directory_.Path("other"));
  const timespec old_times[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, directory_.Path("other").c_str(), old_times, 0), 0);
  ASSERT_EQ(link(directory_.Path("other").c_str(), directory_.Path("vm.shutdown").c_str()), 0);
  ASSERT_TRUE(Create("vm").ok());
  EXPECT_EQ(Stat("other").st_mtime, 1000);
  EXPECT_EQ(Stat("other").st_nlink, 1u);
  EXPECT_NE(Stat("vm.shutdown").st_ino, Stat("other").st_ino);
}

TEST_F(ShutdownFileTest, CanBeRemovedAlsoIfItIsMissing) {
  const std::string name = "a\nb\xff";
  ASSERT_TRUE(Create(name).ok());
  EXPECT_TRUE(e2e::Exists(directory_.Path(name + ".shutdown")));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(Delete(name).ok());
  EXPECT_FALSE(e2e::Exists(directory_.Path(name + ".shutdown")));
  EXPECT_TRUE(DeleteShutdownFile(directory_.Path("no directory"), "vm").ok());
}

TEST_F(ShutdownFileTest, AnErrorNamesTheFileAndTheReason) {
  const absl::Status status = CreateShutdownFile(directory_.Path("missing"), "v\nm");
  EXPECT_THAT(std::string(status.message()), HasSubstr("missing/v\\nm.shutdown"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("No such file"));
}

}  // namespace
}  // namespace vmeventd
