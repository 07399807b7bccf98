#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/descriptor_limit.h"
#include "server/directories.h"
#include "server/listen_socket.h"
#include "server/lock_file.h"
#include "server/random.h"
#include "tests/server/temporary_directory.h"

namespace vmeventd {
namespace {

using ::testing::HasSubstr;

mode_t ModeOf(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 0777;
}

// A bound Unix socket, which listens where `listens`.
class BoundSocket {
 public:
  BoundSocket(const std::string& path, bool listens) : fd_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, path.data(), path.size());
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
    if (listens) {
      EXPECT_EQ(listen(fd_, 1), 0);
    }
  }
  ~BoundSocket() { close(fd_); }

 private:
  const int fd_;
};

TEST(LockFile, IsHeldByOneAndSaysByWhom) {
  const TemporaryDirectory directory;
  const std::string path = directory / "lock";
  absl::StatusOr<std::unique_ptr<LockFile>> first = LockFile::Acquire(path);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(ModeOf(path) & ~0640u, 0);
  const absl::Status second = LockFile::Acquire(path).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(second));
  EXPECT_THAT(std::string(second.message()), HasSubstr(path));
  EXPECT_THAT(std::string(second.message()), HasSubstr(absl::StrCat("pid ", getpid())));
  first->reset();
  EXPECT_TRUE(LockFile::Acquire(path).ok()) << "the file that was left behind is no obstacle";
}

TEST(LockFile, FollowsNoLinkAndMakesNoDirectory) {
  const TemporaryDirectory directory;
  ASSERT_EQ(symlink("/dev/null", (directory / "lock").c_str()), 0);
  EXPECT_THAT(std::string(LockFile::Acquire(directory / "lock").status().message()),
              HasSubstr("symbolic link"));
  EXPECT_TRUE(absl::IsNotFound(LockFile::Acquire(directory / "none/lock").status()));
}

TEST(Directories, AreMadeWithTheirParents) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(MakeOwnDirectory(directory / "a/b/c").ok());
  EXPECT_EQ(ModeOf(directory / "a/b/c") & ~0750u, 0);
  EXPECT_TRUE(MakeOwnDirectory(directory / "a/b/c").ok());
}

TEST(Directories, AFileIsNone) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "file") << "x";
  EXPECT_THAT(std::string(MakeOwnDirectory(directory / "file").message()),
              HasSubstr("Not a directory"));
  EXPECT_THAT(std::string(MakeOwnDirectory(directory / "file/below").message()),
              HasSubstr("Not a directory"));
}

TEST(Directories, AnotherUsersOrAnOpenOneIsRefused) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(CheckOwner(directory.path()).ok());
  ASSERT_TRUE(MakeOwnDirectory(directory / "open").ok());
  ASSERT_EQ(chmod((directory / "open").c_str(), 0777), 0);
  EXPECT_THAT(std::string(CheckOwner(directory / "open").message()), HasSubstr("chmod o-w"));
  if (geteuid() != 0) return;  // only root can give a directory away
  ASSERT_TRUE(MakeOwnDirectory(directory / "given").ok());
  ASSERT_EQ(chown((directory / "given").c_str(), 12345, 0), 0);
  EXPECT_THAT(std::string(CheckOwner(directory / "given").message()), HasSubstr("12345"));
}

TEST(ListenSocket, MakesTheDirectoryAndReplacesAStaleSocket) {
  const TemporaryDirectory directory;
  const ListenAddress address = {.path = directory / "own/x.sock", .host = "", .port = 0};
  ASSERT_TRUE(MakeSocketDirectory(address).ok());
  EXPECT_EQ(ModeOf(directory / "own") & ~0750u, 0);
  EXPECT_TRUE(PrepareListenAddress(address).ok());
  { const BoundSocket stale(address.path, false); }
  EXPECT_TRUE(PrepareListenAddress(address).ok());
  EXPECT_NE(access(address.path.c_str(), F_OK), 0);
}

TEST(ListenSocket, LeavesAloneWhatBelongsToOthers) {
  const TemporaryDirectory directory;
  const ListenAddress live = {.path = directory / "live", .host = "", .port = 0};
  const BoundSocket listener(live.path, true);
  EXPECT_THAT(std::string(PrepareListenAddress(live).message()),
              HasSubstr("another process listens"));
  const ListenAddress file = {.path = directory / "file", .host = "", .port = 0};
  std::ofstream(file.path) << "x";
  EXPECT_THAT(std::string(PrepareListenAddress(file).message()), HasSubstr("not a socket"));
  EXPECT_EQ(access(live.path.c_str(), F_OK), 0);
  EXPECT_EQ(access(file.path.c_str(), F_OK), 0);
}

TEST(DescriptorLimit, KeepsSomeForTheClients) {
  EXPECT_EQ(VmDescriptors(64), 32);
  EXPECT_EQ(VmDescriptors(16), 0);
  EXPECT_EQ(VmDescriptors(1024), 768);
  EXPECT_EQ(VmDescriptors(1'048'576), 1'048'576 - 1024);
  EXPECT_EQ(VmDescriptors(UINT64_MAX), 1 << 20);
}

TEST(RandomUuid, IsAVersion4) {
  const std::string uuid = RandomUuid().value();
  EXPECT_THAT(uuid, ::testing::MatchesRegex("[0-9a-f-]{36}"));
  EXPECT_EQ(uuid[14], '4');
  EXPECT_NE(uuid, RandomUuid().value());
}

}  // namespace
}  // namespace vmeventd
