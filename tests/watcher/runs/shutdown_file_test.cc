#include "watcher/runs/shutdown_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/test_util.h"
#include "watcher/runs/process_watch.h"

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
    return CreateShutdownFile(directory_.path(), name, kMark);
  }
  std::optional<absl::Time> OwnTime(const std::string& name, uint32_t mark = kMark) {
    return OwnShutdownFileTime(directory_.path(), name, mark);
  }
  static constexpr uint32_t kMark = 123'456'789;
  absl::Status Delete(const std::string& name) {
    return DeleteShutdownFile(directory_.path(), name);
  }

  TempDir directory_;
};

TEST_F(ShutdownFileTest, IsCreatedEmptyAndReadableForAllWhateverTheUmask) {
  const mode_t umask_before = umask(0777);
  const absl::Status status = Create("vm");
  umask(umask_before);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Stat("vm.shutdown").st_mode, static_cast<mode_t>(S_IFREG | 0644));
  EXPECT_EQ(Stat("vm.shutdown").st_size, 0);
}

TEST_F(ShutdownFileTest, ThatIsThereGetsNewTimesAndKeepsTheRest) {
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
  EXPECT_FALSE(FileExists(directory_.Path("target")));
  WriteFile(directory_.Path("target"));
  EXPECT_FALSE(Create("vm").ok());
}

TEST_F(ShutdownFileTest, AFifoInItsPlaceIsRefusedAtOnce) {
  ASSERT_EQ(mkfifo(directory_.Path("vm.shutdown").c_str(), 0600), 0);
  EXPECT_FALSE(Create("vm").ok());
  // With a reader the open succeeds: its kind is looked at as well.
  const int reader = open(directory_.Path("vm.shutdown").c_str(), O_RDONLY | O_NONBLOCK);
  EXPECT_THAT(std::string(Create("vm").message()), HasSubstr("no regular file"));
  close(reader);
}

TEST_F(ShutdownFileTest, ADirectoryInItsPlaceIsRefused) {
  directory_.MakeDirectory("vm.shutdown");
  EXPECT_FALSE(Create("vm").ok());
  EXPECT_FALSE(Delete("vm").ok());
}

TEST_F(ShutdownFileTest, AFileWithAnotherLinkIsReplacedAndTheOtherLeftAlone) {
  WriteFile(directory_.Path("other"));
  const timespec old_times[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, directory_.Path("other").c_str(), old_times, 0), 0);
  ASSERT_EQ(link(directory_.Path("other").c_str(), directory_.Path("vm.shutdown").c_str()), 0);
  ASSERT_TRUE(Create("vm").ok());
  EXPECT_EQ(Stat("other").st_mtime, 1000);
  EXPECT_EQ(Stat("other").st_nlink, 1u);
  EXPECT_NE(Stat("vm.shutdown").st_ino, Stat("other").st_ino);
}

TEST_F(ShutdownFileTest, IsRemoved) {
  ASSERT_TRUE(Create("vm").ok());
  ASSERT_TRUE(Delete("vm").ok());
  EXPECT_FALSE(FileExists(directory_.Path("vm.shutdown")));
}

TEST_F(ShutdownFileTest, ToRemoveWhatIsNotThereIsSuccess) {
  EXPECT_TRUE(Delete("vm").ok());
  EXPECT_TRUE(DeleteShutdownFile(directory_.Path("no directory"), "vm").ok());
}

TEST_F(ShutdownFileTest, NamesAreRawBytes) {
  const std::string name = "a\nb\xff";
  ASSERT_TRUE(Create(name).ok());
  EXPECT_TRUE(FileExists(directory_.Path(name + ".shutdown")));
  EXPECT_TRUE(Delete(name).ok());
}

TEST_F(ShutdownFileTest, AnErrorNamesTheFileAndTheReason) {
  const absl::Status status = CreateShutdownFile(directory_.Path("missing"), "v\nm");
  EXPECT_THAT(std::string(status.message()), HasSubstr("missing/v\\nm.shutdown"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("No such file"));
}

TEST_F(ShutdownFileTest, TellsWhenItWasWrittenByUs) {
  EXPECT_EQ(OwnTime("vm"), std::nullopt);
  ASSERT_TRUE(Create("vm").ok());
  const std::optional<absl::Time> written = OwnTime("vm");
  ASSERT_TRUE(written.has_value());
  // A chmod later is no writing.
  ASSERT_EQ(chmod(directory_.Path("vm.shutdown").c_str(), 0600), 0);
  EXPECT_EQ(OwnTime("vm"), written);
}

TEST_F(ShutdownFileTest, IsKnownByItsMark) {
  ASSERT_TRUE(Create("vm").ok());
  EXPECT_EQ(Stat("vm.shutdown").st_mtim.tv_nsec, static_cast<int64_t>(kMark));
  EXPECT_TRUE(OwnTime("vm").has_value());
  EXPECT_EQ(OwnTime("vm", kMark + 1), std::nullopt) << "it is another run's";
  EXPECT_EQ(OwnTime("vm", 0), std::nullopt);
  // Renewed for another run, it is that one's.
  ASSERT_TRUE(CreateShutdownFile(directory_.path(), "vm", kMark + 1).ok());
  EXPECT_EQ(OwnTime("vm"), std::nullopt);
  EXPECT_TRUE(OwnTime("vm", kMark + 1).has_value());
}

TEST_F(ShutdownFileTest, ItsTimeIsAtMostASecondBeforeItWasWritten) {
  const absl::Time before = absl::Now();
  ASSERT_TRUE(Create("vm").ok());
  const absl::Time time = absl::TimeFromTimespec(Stat("vm.shutdown").st_mtim);
  EXPECT_GE(time, before - absl::Seconds(1));
  EXPECT_LE(time, absl::Now());
}

TEST_F(ShutdownFileTest, MarksAreOneToTheLastNanosecond) {
  for (int i = 0; i < 1000; ++i) {
    const uint32_t mark = NewShutdownFileMark();
    EXPECT_GE(mark, 1u);
    EXPECT_LT(mark, 1'000'000'000u);
  }
}

TEST_F(ShutdownFileTest, WhatIsNoFileOfOursHasNoTime) {
  ASSERT_EQ(symlink("vm.shutdown", directory_.Path("link.shutdown").c_str()), 0);
  directory_.MakeDirectory("dir.shutdown");
  ASSERT_TRUE(Create("vm").ok());
  for (const char* name : {"link", "dir", "missing"}) {
    EXPECT_EQ(OwnTime(name), std::nullopt) << name;
  }
  if (geteuid() != 0) return;
  ASSERT_EQ(chown(directory_.Path("vm.shutdown").c_str(), 65534, 65534), 0);
  EXPECT_EQ(OwnTime("vm"), std::nullopt);
}

}  // namespace
}  // namespace vmeventd
