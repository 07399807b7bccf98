#include "server/host/parcel.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <vector>

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

uint64_t InodeOf(int fd) {
  struct stat status {};
  EXPECT_EQ(fstat(fd, &status), 0);
  return status.st_ino;
}

std::vector<UniqueFd> Sockets(size_t count) {
  std::vector<UniqueFd> sockets;
  for (size_t i = 0; i < count; ++i) {
    sockets.emplace_back(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  }
  return sockets;
}

std::vector<int> Numbers(const std::vector<UniqueFd>& descriptors) {
  std::vector<int> numbers;
  numbers.reserve(descriptors.size());
  for (const UniqueFd& descriptor : descriptors) numbers.push_back(descriptor.get());
  return numbers;
}

TEST(ParcelTest, AMessageThatIsOnlyPeekedAtStaysInItWithItsDescriptors) {
  const absl::StatusOr<ParcelSockets> sockets = MakeParcelSockets();
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  const std::vector<UniqueFd> held = Sockets(3);
  ASSERT_TRUE(SendToParcel(sockets->sender.get(), "text", Numbers(held)).ok());
  for (int round = 0; round < 2; ++round) {
    std::vector<UniqueFd> descriptors;
    const auto text = ReceiveFromParcel(sockets->parcel.get(), 64, &descriptors, /*stays=*/true);
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, "text");
    ASSERT_EQ(descriptors.size(), held.size());
    EXPECT_EQ(InodeOf(descriptors[2].get()), InodeOf(held[2].get()));
  }
}

TEST(ParcelTest, KeepsWhatItHoldsOpenUntilItIsClosed) {
  int ends[2] = {};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  UniqueFd held(ends[0]);
  const UniqueFd peer(ends[1]);
  absl::StatusOr<ParcelSockets> sockets = MakeParcelSockets();
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  const int number = held.get();
  ASSERT_TRUE(SendToParcel(sockets->sender.get(), "text", {&number, 1}).ok());
  sockets->sender.Reset();
  held.Reset();
  char byte = 0;
  EXPECT_LT(recv(peer.get(), &byte, 1, 0), 0) << "nobody has hung up";
  sockets->parcel.Reset();
  // The kernel may free it a moment later.
  fcntl(peer.get(), F_SETFL, 0);
  EXPECT_EQ(recv(peer.get(), &byte, 1, 0), 0);
}

}  // namespace
}  // namespace vmeventd
