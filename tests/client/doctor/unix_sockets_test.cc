#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "base/system.h"
#include "client/doctor/doctor.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd::client {
namespace {

// The socket that listens at the path.
UnixSocket ListenerIn(const absl::StatusOr<std::vector<UnixSocket>>& sockets,
                      const std::string& path) {
  EXPECT_TRUE(sockets.ok()) << sockets.status();
  if (!sockets.ok()) return {};
  const auto found = absl::c_find_if(
      *sockets, [&path](const UnixSocket& one) { return one.path == path && one.listening; });
  return found == sockets->end() ? UnixSocket() : *found;
}

TEST(UnixSocketsTest, TheKernelAndProcListASocketThatListens) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a b.sock";
  const UniqueFd listener(socket(AF_UNIX, SOCK_STREAM, 0));
  const UniqueFd client(socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{.sun_family = AF_UNIX};
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const auto* const name = reinterpret_cast<const sockaddr*>(&address);
  ASSERT_EQ(bind(listener.get(), name, sizeof(address)), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  ASSERT_EQ(connect(client.get(), name, sizeof(address)), 0);
  struct stat file {};
  ASSERT_EQ(stat(path.c_str(), &file), 0);
  const UnixSocket of_kernel = ListenerIn(ReadUnixSockets(), path);
  EXPECT_NE(of_kernel.inode, 0U);
  EXPECT_EQ(of_kernel.pending, 1U);
  EXPECT_EQ(of_kernel.file.inode, static_cast<uint32_t>(file.st_ino));
  EXPECT_EQ(ListenerIn(ReadUnixSocketsOfProc(), path).inode, of_kernel.inode);
}

}  // namespace
}  // namespace vmeventd::client
