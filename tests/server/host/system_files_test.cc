#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/event_loop.h"
#include "server/config/listen_address.h"
#include "server/host/files.h"
#include "server/host/node_id.h"
#include "server/transport/accepting_socket.h"
#include "server/transport/listen_socket.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"
#include "tests/support/loopback.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_events.h"
#include "tests/support/unix_socket.h"

namespace vmeventd {
namespace {

using e2e::ConnectUnix;
using e2e::ListenOnLoopback;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

mode_t ModeOf(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 0777;
}

TEST(LockFile, IsHeldByOneProcess) {
  const TemporaryDirectory directory;
  const std::string path = directory / "lock";
  absl::StatusOr<UniqueFd> first = LockFile(path);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(ModeOf(path) & ~0640u, 0);
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
  EXPECT_EQ(ModeOf(directory / "a/b/c") & ~0750u, 0);
  EXPECT_TRUE(MakeOwnDirectory(directory / "a/b/c").ok());
}

TEST(Directories, AFileIsRefused) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "file") << "x";
  EXPECT_THAT(MakeOwnDirectory(directory / "file"), Says("Not a directory"));
  EXPECT_THAT(MakeOwnDirectory(directory / "file/below"), Says("Not a directory"));
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
    const char* own;         // the fault of one for files of its own; empty: none
    const char* of_sockets;  // of one in which a socket is, beside files of others
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

ListenAddress UnixAddress(const std::string& path, const std::string& options = "") {
  return ParseListenAddress("unix:" + path + options).value();
}

TEST(ListenSocket, MakesTheDirectoryAndReplacesAStaleSocket) {
  const TemporaryDirectory directory;
  // The second is longer than an address.
  for (const std::string& name : {std::string("own"), std::string(150, 'd')}) {
    const std::string path = directory / (name + "/x.sock");
    ASSERT_TRUE(ListenSocket::Open(UnixAddress(path)).ok());
    EXPECT_EQ(ModeOf(directory / name) & ~0750u, 0);
    EXPECT_NE(access(path.c_str(), F_OK), 0) << "removed with its socket";
    UniqueFd(e2e::ListenUnix(path)).Reset();  // what it leaves is stale
    ASSERT_EQ(access(path.c_str(), F_OK), 0);
    const auto socket = ListenSocket::Open(UnixAddress(path));
    ASSERT_TRUE(socket.ok()) << socket.status();
    EXPECT_EQ(ModeOf(path), 0660);
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

TEST(AcceptingSocket, OpensOnceWhatIsInTheWayIsGone) {
  const TemporaryDirectory directory;
  const std::string path = directory / "s";
  std::ofstream(path) << "x";
  FakeClock clock;
  const std::unique_ptr<EventLoop> loop = EventLoop::Create(&clock).value();
  AcceptingSocket socket("gRPC", UnixAddress(path), loop.get(), {}, absl::Minutes(1));
  EXPECT_THAT(socket.Listen(), Says("not a socket"));
  // The file in the way goes, and comes again before the attempt.
  for (const int wait : {1, 2, 4, 8, 10, 10}) {
    clock.Advance(absl::Seconds(wait) - absl::Milliseconds(1));
    ASSERT_EQ(unlink(path.c_str()), 0);
    loop->RunOnce(absl::ZeroDuration());
    EXPECT_FALSE(socket.listening()) << "it is not due";
    std::ofstream(path) << "x";
    clock.Advance(absl::Milliseconds(1));
    loop->RunOnce(absl::ZeroDuration());
    EXPECT_FALSE(socket.listening());
  }
  ASSERT_EQ(unlink(path.c_str()), 0);
  clock.Advance(AcceptingSocket::kMaxRetry);
  loop->RunOnce(absl::ZeroDuration());
  EXPECT_TRUE(socket.listening());
}

// As after `rm -rf /run/vmeventd/*`, systemd-tmpfiles, or a volume that was made again.
TEST(AcceptingSocket, ListensAgainWhereItsPathWasRemovedOrReplaced) {
  const TemporaryDirectory directory;
  const std::string path = directory / "run/s";
  FakeClock clock;
  const std::unique_ptr<EventLoop> loop = EventLoop::Create(&clock).value();
  int accepted = 0;
  std::vector<bool> states;
  AcceptingSocket* listener = nullptr;
  AcceptingSocket socket("gRPC", UnixAddress(path), loop.get(),
                         {.accepted = [&](const UniqueFd& /*fd*/) { ++accepted; },
                          .listening = [&] { states.push_back(listener->listening()); }},
                         absl::Minutes(1));
  listener = &socket;
  ASSERT_TRUE(socket.Listen().ok());
  const auto step = [&] {
    clock.Advance(AcceptingSocket::kPathCheck);
    loop->RunOnce(absl::ZeroDuration());
    loop->RunOnce(absl::ZeroDuration());
  };
  step();
  EXPECT_THAT(states, ElementsAre(true)) << "nothing has happened to the path";

  std::filesystem::remove_all(directory / "run");
  step();
  EXPECT_THAT(states, ElementsAre(true, true));
  const UniqueFd client(ConnectUnix(path));
  loop->RunOnce(absl::ZeroDuration());
  EXPECT_EQ(accepted, 1);

  // Something else has the path: it stays, and is reported until it is gone.
  ASSERT_EQ(unlink(path.c_str()), 0);
  std::ofstream(path) << "x";
  step();
  EXPECT_THAT(states, ElementsAre(true, true, false));
  EXPECT_FALSE(socket.listening());
  ASSERT_EQ(unlink(path.c_str()), 0);
  clock.Advance(AcceptingSocket::kMaxRetry);
  loop->RunOnce(absl::ZeroDuration());
  EXPECT_THAT(states, ElementsAre(true, true, false, true));
}

TEST(ListenSocket, RemovesNothingThatHasTakenItsPlace) {
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

TEST(AcceptingSocket, LogsAnAddressOnceAndNoAttemptThatTheDaemonDoesNotRepeat) {
  const TemporaryDirectory directory;
  std::ostringstream log;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "log", std::make_shared<spdlog::sinks::ostream_sink_st>(log)));
  FakeClock clock;
  const std::unique_ptr<EventLoop> loop = EventLoop::Create(&clock).value();
  uint16_t port = 0;
  const UniqueFd taken = ListenOnLoopback(&port);
  const std::string address = absl::StrCat("127.0.0.1:", port);
  AcceptingSocket later("gRPC", ParseListenAddress(address).value(), loop.get(), {});
  EXPECT_FALSE(later.Listen().ok());
  EXPECT_THAT(log.str(), HasSubstr(absl::StrCat("gRPC cannot listen on ", address,
                                                ": another process listens on this port; trying")));
  log.str("");
  const auto held = ListenSocket::Open(UnixAddress(directory / "s"));
  AcceptingSocket never("gRPC", UnixAddress(directory / "s"), loop.get(), {});
  EXPECT_TRUE(absl::IsAlreadyExists(never.Listen()));
  EXPECT_EQ(log.str(), "");
  spdlog::set_default_logger(before);
}

constexpr char kUuid[] = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";

TEST(NodeId, IsStoredInTheStateDirectoryWhereThereIsNoMachineId) {
  const TemporaryDirectory directory;
  const std::string id = StoredNodeId(directory.path()).value();
  EXPECT_THAT(id, MatchesRegex(kUuid));
  EXPECT_EQ(StoredNodeId(directory.path()).value(), id);
  std::ofstream(directory / "node_id") << "garbage";
  const std::string next = StoredNodeId(directory.path()).value();
  EXPECT_THAT(next, MatchesRegex(kUuid));
  EXPECT_NE(next, id) << "a damaged file is replaced";
  EXPECT_EQ(StoredNodeId(directory.path()).value(), next);
  EXPECT_THAT(StoredNodeId(directory / "missing"), Says("missing/node_id"));
}

// Another id would be another node for everybody who knows this one.
TEST(NodeId, IsWhatSystemdPrintsForTheApplication) {
  const TemporaryDirectory directory;
  FILE* const systemd =
      popen("systemd-id128 machine-id --uuid --app-specific=cfa051b179e349de98d50d35ed0d0b37", "r");
  char printed[37] = {};
  const bool has_machine_id = fread(printed, 1, 36, systemd) == 36;
  pclose(systemd);
  const std::string id = NodeId(directory.path()).value();
  EXPECT_EQ(id, has_machine_id ? printed : StoredNodeId(directory.path()).value());
}

}  // namespace
}  // namespace vmeventd
