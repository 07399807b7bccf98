#include "client/doctor/unix_sockets.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/system.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd {
namespace {

TEST(UnixSocketsTest, AnAnswerThatIsCutOffIsRefused) {
  std::vector<UnixSocket> sockets;
  const std::string cut("\x40\0\0\0\x14\0\x02\0\0\0\0\0\0\0\0\0\x01", 17);
  EXPECT_EQ(ParseUnixSockets(cut, &sockets).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(sockets.empty());
}

TEST(UnixSocketsTest, AnErrorOfTheKernelIsNamed) {
  std::vector<UnixSocket> sockets;
  // ENOENT: the kernel has no unix_diag.
  const std::string error(
      "\x24\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\xfe\xff\xff\xff"
      "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
      36);
  EXPECT_EQ(ParseUnixSockets(error, &sockets).status().message(),
            "cannot list Unix sockets: sock_diag: No such file or directory");
}

TEST(UnixSocketsTest, ProcListsThemWithoutTheirConnections) {
  const std::vector<UnixSocket> sockets = ParseProcNetUnix(
      "Num       RefCount Protocol Flags    Type St Inode Path\n"
      "0000000000000000: 00000002 00000000 00010000 0001 01    17 /run/a b.qmp\n"
      "0000000000000000: 00000003 00000000 00000000 0001 03 4294967295\n"
      "0000000000000000: 00000002 00000000 00010000 0001 01 24 @/tmp/dbus\n"
      "of a path with a line's end\n"
      "0000000000000000: 00000003");
  ASSERT_EQ(sockets.size(), 3U);
  EXPECT_EQ(sockets[0].inode, 17U);
  EXPECT_EQ(sockets[0].path, "/run/a b.qmp");
  EXPECT_TRUE(sockets[0].listening);
  EXPECT_EQ(sockets[1].inode, 4294967295U);
  EXPECT_EQ(sockets[1].path, "");
  EXPECT_FALSE(sockets[1].listening);
  EXPECT_EQ(sockets[2].path, "");
}

TEST(UnixSocketsTest, ProcHasASocketThatListensHere) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a.sock";
  const UniqueFd listener(socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{.sun_family = AF_UNIX};
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  const auto sockets = ReadUnixSocketsOfProc();
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  EXPECT_TRUE(std::any_of(sockets->begin(), sockets->end(), [&](const UnixSocket& each) {
    return each.path == path && each.listening;
  }));
}

}  // namespace
}  // namespace vmeventd
