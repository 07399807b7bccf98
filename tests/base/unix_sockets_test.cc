#include "base/unix_sockets.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"

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

}  // namespace
}  // namespace vmeventd
