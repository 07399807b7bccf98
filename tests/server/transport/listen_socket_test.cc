#include "server/transport/listen_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "server/config/listen_address.h"
#include "server/host/own_directory.h"
#include "tests/support/files.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/unix_socket.h"

namespace vmeventd {
namespace {

ListenAddress UnixAddress(const std::string& path, const std::string& options = "") {
  return ParseListenAddress("unix:" + path + options).value();
}

TEST(ListenSocket, MakesTheDirectoryAndReplacesAStaleSocket) {
  const TemporaryDirectory directory;
  // The second is longer than an address.
  for (const std::string& name : {std::string("own"), std::string(150, 'd')}) {
    const std::string path = directory / (name + "/x.sock");
    ASSERT_TRUE(ListenSocket::Open(UnixAddress(path)).ok());
    EXPECT_EQ(e2e::ModeOf(directory / name) & ~0750u, 0);
    EXPECT_NE(access(path.c_str(), F_OK), 0) << "removed with its socket";
    UniqueFd(e2e::ListenUnix(path)).Reset();  // what it leaves is stale
    ASSERT_EQ(access(path.c_str(), F_OK), 0);
    const auto socket = ListenSocket::Open(UnixAddress(path));
    ASSERT_TRUE(socket.ok()) << socket.status();
    EXPECT_EQ(e2e::ModeOf(path), 0660);
    EXPECT_TRUE(UniqueFd(e2e::ConnectUnix(path)).valid());
  }
}

TEST(ListenSocket, HasTheModeAndTheGroupDespiteTheUmask) {
  const TemporaryDirectory directory;
  const std::string path = directory / "s";
  for (const mode_t mask : {0000, 0022, 0777}) {
    const mode_t old = umask(mask);
    const auto socket = ListenSocket::Open(UnixAddress(path, ",mode=0666,role=reader"));
    umask(old);
    ASSERT_TRUE(socket.ok()) << socket.status();
    EXPECT_EQ(e2e::ModeOf(path), 0666);
  }
  if (geteuid() != 0) return;  // only root can give a file to any group
  const auto socket = ListenSocket::Open(UnixAddress(path, ",mode=0620,group=54321"));
  ASSERT_TRUE(socket.ok()) << socket.status();
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_gid, 54321);
  EXPECT_EQ(info.st_mode & 0777, 0620);
}

TEST(ListenSocket, TheGroupMayEnterTheDirectoryCreatedForItsSocket) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a directory to any group";
  const TemporaryDirectory directory;
  const mode_t old = umask(0077);
  const auto socket = ListenSocket::Open(UnixAddress(directory / "made/s", ",group=54321"));
  ASSERT_TRUE(MakeOwnDirectory(directory / "kept").ok());
  const auto in_existing = ListenSocket::Open(UnixAddress(directory / "kept/s", ",group=54321"));
  umask(old);
  ASSERT_TRUE(socket.ok()) << socket.status();
  ASSERT_TRUE(in_existing.ok()) << in_existing.status();
  struct stat info {};
  ASSERT_EQ(stat((directory / "made").c_str(), &info), 0);
  EXPECT_EQ(info.st_gid, 54321);
  EXPECT_EQ(info.st_mode & 07777, 0750);
  ASSERT_EQ(stat((directory / "kept").c_str(), &info), 0);
  EXPECT_EQ(info.st_gid, getegid()) << "an existing directory keeps its group";
}

TEST(ListenSocket, LeavesFilesOfOthersInPlace) {
  const TemporaryDirectory directory;
  const std::string live = directory / "live";
  const UniqueFd listener(e2e::ListenUnix(live));
  EXPECT_THAT(ListenSocket::Open(UnixAddress(live)),
              FailsAs(absl::IsAlreadyExists, "another process listens"));
  const std::string file = directory / "file";
  std::ofstream(file) << "x";
  EXPECT_THAT(ListenSocket::Open(UnixAddress(file)), Says("not a socket"));
  EXPECT_EQ(access(live.c_str(), F_OK), 0);
  EXPECT_EQ(access(file.c_str(), F_OK), 0);
}

TEST(ListenSocket, DoesNotRemoveAFileThatReplacedIt) {
  const TemporaryDirectory directory;
  const std::string path = directory / "s";
  auto socket = ListenSocket::Open(UnixAddress(path));
  ASSERT_TRUE(socket.ok());
  EXPECT_TRUE((*socket)->Reachable());
  ASSERT_EQ(unlink(path.c_str()), 0);
  EXPECT_FALSE((*socket)->Reachable());
  std::ofstream(path) << "x";
  EXPECT_FALSE((*socket)->Reachable());
  *socket = nullptr;
  EXPECT_EQ(access(path.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace vmeventd
