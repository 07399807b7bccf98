#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/host/files.h"
#include "server/host/privileges.h"
#include "server/transport/listen_socket.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/unix_socket.h"

namespace vmeventd {
namespace {

using ::testing::MatchesRegex;

mode_t ModeOf(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 0777;
}

TEST(LockFile, IsHeldByOneProcessAndNamesIt) {
  const TemporaryDirectory directory;
  const std::string path = directory / "lock";
  absl::StatusOr<UniqueFd> first = LockFile(path);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(ModeOf(path) & ~0640u, 0);
  const absl::Status second = LockFile(path).status();
  EXPECT_THAT(second, FailsAs(absl::IsAlreadyExists, path));
  EXPECT_THAT(second, Says(absl::StrCat("pid ", getpid())));
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
  EXPECT_EQ(ModeOf(directory / "a/b/c") & ~0750u, 0);
  EXPECT_TRUE(MakeOwnDirectory(directory / "a/b/c").ok());
}

TEST(Directories, AFileIsRefused) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "file") << "x";
  EXPECT_THAT(MakeOwnDirectory(directory / "file"), Says("Not a directory"));
  EXPECT_THAT(MakeOwnDirectory(directory / "file/below"), Says("Not a directory"));
}

TEST(Directories, OneThatOthersOwnOrMayWriteIsRefused) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(CheckOwner(directory.path()).ok());
  ASSERT_TRUE(MakeOwnDirectory(directory / "open").ok());
  ASSERT_EQ(chmod((directory / "open").c_str(), 0777), 0);
  EXPECT_THAT(CheckOwner(directory / "open"), Says("chmod o-w"));
  if (geteuid() != 0) return;  // only root can give a directory away
  ASSERT_TRUE(MakeOwnDirectory(directory / "given").ok());
  ASSERT_EQ(chown((directory / "given").c_str(), 0, 12345), 0);
  ASSERT_EQ(chmod((directory / "given").c_str(), 0750), 0);
  EXPECT_TRUE(CheckOwner(directory / "given").ok());
  ASSERT_EQ(chmod((directory / "given").c_str(), 0770), 0);
  EXPECT_THAT(CheckOwner(directory / "given"), Says("chmod g-w"));
  EXPECT_THAT(CheckNobodyElseReplaces(directory / "given"), Says("chmod g-w"));
  ASSERT_EQ(chown((directory / "given").c_str(), 12345, 0), 0);
  EXPECT_THAT(CheckOwner(directory / "given"), Says("12345"));
}

TEST(Directories, OneWhereOthersCouldReplaceASocketIsRefused) {
  const TemporaryDirectory directory;
  ASSERT_TRUE(MakeOwnDirectory(directory / "open").ok());
  ASSERT_EQ(chmod((directory / "open").c_str(), 0777), 0);
  EXPECT_THAT(CheckNobodyElseReplaces(directory / "open"), Says("chmod o-w"));
  ASSERT_EQ(chmod((directory / "open").c_str(), 01777), 0);
  EXPECT_TRUE(CheckNobodyElseReplaces(directory / "open").ok()) << "like /tmp";
  if (geteuid() != 0) return;  // only root can give a directory away
  ASSERT_EQ(chown((directory / "open").c_str(), 12345, 0), 0);
  EXPECT_THAT(CheckNobodyElseReplaces(directory / "open"), Says("12345"));
}

ListenAddress UnixAddress(const std::string& path, const std::string& options = "") {
  return ParseListenAddress("unix:" + path + options).value();
}

TEST(ListenSocket, MakesTheDirectoryAndReplacesAStaleSocket) {
  const TemporaryDirectory directory;
  const std::string path = directory / "own/x.sock";
  ASSERT_TRUE(ListenSocket::Open(UnixAddress(path)).ok());
  EXPECT_EQ(ModeOf(directory / "own") & ~0750u, 0);
  EXPECT_NE(access(path.c_str(), F_OK), 0) << "removed with its socket";
  UniqueFd(e2e::ListenUnix(path)).Reset();  // what it leaves is stale
  ASSERT_EQ(access(path.c_str(), F_OK), 0);
  const auto socket = ListenSocket::Open(UnixAddress(path));
  ASSERT_TRUE(socket.ok()) << socket.status();
  EXPECT_EQ(ModeOf(path), 0660);
}

TEST(ListenSocket, APathMayBeLongerThanAnAddress) {
  const TemporaryDirectory directory;
  const std::string path = directory / (std::string(150, 'd') + "/x.sock");
  ASSERT_TRUE(ListenSocket::Open(UnixAddress(path)).ok());
  EXPECT_NE(access(path.c_str(), F_OK), 0) << "removed with its socket";
  UniqueFd(e2e::ListenUnix(path)).Reset();  // what it leaves is stale
  const auto socket = ListenSocket::Open(UnixAddress(path, ",mode=0666,role=reader"));
  ASSERT_TRUE(socket.ok()) << socket.status();
  EXPECT_EQ(ModeOf(path), 0666);
  EXPECT_TRUE(UniqueFd(e2e::ConnectUnix(path)).valid());
  const std::string live = path + "-live";
  const UniqueFd listener(e2e::ListenUnix(live));
  EXPECT_THAT(ListenSocket::Open(UnixAddress(live)),
              FailsAs(absl::IsAlreadyExists, "another process listens"));
}

TEST(ListenSocket, HasTheModeAndTheGroupDespiteTheUmask) {
  const TemporaryDirectory directory;
  const std::string path = directory / "s";
  for (const mode_t mask : {0000, 0022, 0777}) {
    const mode_t old = umask(mask);
    const auto socket = ListenSocket::Open(UnixAddress(path, ",mode=0666,role=reader"));
    umask(old);
    ASSERT_TRUE(socket.ok()) << socket.status();
    EXPECT_EQ(ModeOf(path), 0666);
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
  const auto beside = ListenSocket::Open(UnixAddress(directory / "kept/s", ",group=54321"));
  umask(old);
  ASSERT_TRUE(socket.ok()) << socket.status();
  ASSERT_TRUE(beside.ok()) << beside.status();
  struct stat info {};
  ASSERT_EQ(stat((directory / "made").c_str(), &info), 0);
  EXPECT_EQ(info.st_gid, 54321);
  EXPECT_EQ(info.st_mode & 07777, 0750);
  ASSERT_EQ(stat((directory / "kept").c_str(), &info), 0);
  EXPECT_EQ(info.st_gid, getegid()) << "an existing directory keeps its group";
}

TEST(ListenSocket, KeepsFilesOfOthers) {
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

TEST(ListenSocket, MayHaveAnAddressThatIsNotThereYet) {
  // Reserved for documentation: no host has it (RFC 5737, RFC 3849).
  for (const char* address : {"192.0.2.55:0", "[2001:db8::55]:0"}) {
    const auto socket = ListenSocket::Open(ParseListenAddress(address).value());
    ASSERT_TRUE(socket.ok()) << socket.status();
    EXPECT_NE((*socket)->address().port, 0);
  }
}

TEST(ListenAttempts, OpenTheSocketOnceWhatIsInTheWayIsGone) {
  const TemporaryDirectory directory;
  const std::string path = directory / "s";
  std::ofstream(path) << "x";
  ListenAttempts attempts("gRPC", UnixAddress(path));
  absl::Duration now = absl::Hours(1);
  EXPECT_THAT(attempts.Try(now), Says("not a socket"));
  EXPECT_EQ(attempts.socket(), nullptr);
  EXPECT_EQ(attempts.due(), now + absl::Seconds(1));
  ASSERT_EQ(unlink(path.c_str()), 0);
  EXPECT_FALSE(attempts.Try(now + absl::Milliseconds(999)).ok()) << "it is not due";
  std::ofstream(path) << "x";
  for (const int wait : {2, 4, 8, 10, 10}) {
    now = attempts.due();
    EXPECT_FALSE(attempts.Try(now).ok());
    EXPECT_EQ(attempts.due() - now, absl::Seconds(wait));
  }
  ASSERT_EQ(unlink(path.c_str()), 0);
  EXPECT_TRUE(attempts.Try(attempts.due()).ok());
  EXPECT_NE(attempts.socket(), nullptr);
  EXPECT_EQ(attempts.due(), absl::InfiniteDuration());
}

TEST(DescriptorShares, ProtectVmsFromClientsAndTheReverse) {
  const struct {
    uint64_t limit;
    size_t listeners;
    int wanted;
    int vms;
    int listener;
  } rows[] = {
      {16, 1, 12'000, 0, 16},
      {64, 1, 12'000, 32, 16},
      {1024, 1, 12'000, 768, 192},
      {1024, 2, 12'000, 768, 96},
      {1024, 2, 30, 900, 30},
      {1'048'576, 1, 12'000, 1'048'576 - 12'064, 12'000},
      {UINT64_MAX, 3, 12'000, 1 << 20, 12'000},
  };
  for (const auto& row : rows) {
    const DescriptorShares shares = ShareDescriptors(row.limit, row.listeners, row.wanted);
    EXPECT_EQ(shares.vms, row.vms) << row.limit;
    EXPECT_EQ(shares.listener, row.listener) << row.limit;
  }
}

constexpr char kUuid[] = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";

TEST(NodeId, IsWhatSystemdDerivesFromTheMachineId) {
  // systemd-id128 machine-id --app-specific=cfa051b179e349de98d50d35ed0d0b37
  EXPECT_EQ(NodeIdOfMachine("3d1219c7c4c5404aaa1f6d2a48adfda4").value(),
            "6887eb09-e18d-4dd0-aeeb-24ea58ad1a67");
  EXPECT_NE(NodeIdOfMachine("3d1219c7c4c5404aaa1f6d2a48adfda5").value(),
            "6887eb09-e18d-4dd0-aeeb-24ea58ad1a67");
}

TEST(NodeId, RefusesAnInvalidMachineId) {
  for (const char* text :
       {"", "uninitialized", "3d1219c7c4c5404aaa1f6d2a48adfda",
        "3d1219c7-c4c5-404a-aa1f-6d2a48adfda4", "00000000000000000000000000000000"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(NodeIdOfMachine(text).status())) << text;
  }
}

TEST(NodeId, ComesFromTheMachineIdIfThereIsOne) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "machine-id") << "3d1219c7c4c5404aaa1f6d2a48adfda4\n";
  EXPECT_EQ(NodeId(directory.path(), directory / "machine-id").value(),
            NodeIdOfMachine("3d1219c7c4c5404aaa1f6d2a48adfda4").value());
  EXPECT_FALSE(std::ifstream(directory / "node_id").good());
}

TEST(NodeId, IsKeptInTheStateDirectoryOtherwise) {
  const TemporaryDirectory directory;
  for (const char* text : {"", "uninitialized\n"}) {
    std::ofstream(directory / "machine-id") << text;
    const std::string id = NodeId(directory.path(), directory / "machine-id").value();
    EXPECT_THAT(id, MatchesRegex(kUuid));
    EXPECT_EQ(NodeId(directory.path(), directory / "machine-id").value(), id);
    EXPECT_EQ(NodeId(directory.path(), directory / "missing").value(), id);
  }
}

TEST(NodeId, ADamagedFileIsReplaced) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "node_id") << "garbage";
  const std::string id = NodeId(directory.path(), directory / "missing").value();
  EXPECT_THAT(id, MatchesRegex(kUuid));
  EXPECT_EQ(NodeId(directory.path(), directory / "missing").value(), id);
}

TEST(NodeId, NamesTheFileThatCannotBeCreated) {
  const TemporaryDirectory directory;
  EXPECT_THAT(NodeId(directory / "missing", directory / "missing"), Says("missing/node_id"));
}

}  // namespace
}  // namespace vmeventd
