#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "base/unique_fd.h"
#include "client/doctor/node_facts.h"
#include "client/doctor/read_node.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd::client {
namespace {

TEST(UnixSocketsTest, TheKernelListsASocketThatListens) {
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
  NodeFacts facts;
  const absl::Status read = ReadNode(&facts);
  ASSERT_TRUE(read.ok()) << read;
  const auto found = absl::c_find_if(
      facts.sockets, [&path](const UnixSocket& one) { return one.path == path && one.listening; });
  ASSERT_NE(found, facts.sockets.end());
  EXPECT_NE(found->inode, 0U);
  EXPECT_TRUE(found->waited_at);
  struct stat file {};
  ASSERT_EQ(stat(path.c_str(), &file), 0);
  EXPECT_EQ(found->file, static_cast<uint32_t>(file.st_ino));
  EXPECT_NE(found->device, 0U);
}

}  // namespace
}  // namespace vmeventd::client
