#include "server/access/peer.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/unique_fd.h"

namespace vmeventd {
namespace {

TEST(PeerOfAddress, IsTheSlash64NetworkOfAnIpv6Host) {
  const auto peer = [](const char* text) {
    in6_addr address{};
    EXPECT_EQ(inet_pton(AF_INET6, text, &address), 1);
    return PeerOfIpv6(address);
  };
  EXPECT_EQ(peer("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
  EXPECT_EQ(peer("2001:db8:1:2::1"), peer("2001:db8:1:2:ffff:ffff:ffff:ffff"));
  EXPECT_NE(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
  EXPECT_EQ(peer("::1"), "::/64");
  EXPECT_EQ(peer("::ffff:192.0.2.7"), "192.0.2.7") << "the same host by IPv4";
}

TEST(PeerOfSocket, IsEmptyWithoutAConnection) {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(PeerOfSocket(fd.get()), "");
}

}  // namespace
}  // namespace vmeventd
