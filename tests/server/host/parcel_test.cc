#include "server/host/parcel.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <utility>
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

TEST(ParcelTest, HoldsMoreDescriptorsThanOneMessageInTheirOrder) {
  const std::vector<UniqueFd> sockets = Sockets(600);
  const std::string text(3 << 20, 'x');
  absl::StatusOr<UniqueFd> parcel = PackParcel(text, Numbers(sockets));
  ASSERT_TRUE(parcel.ok()) << parcel.status();
  const absl::StatusOr<Parcel> opened = OpenParcel(*std::move(parcel));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->text, text);
  ASSERT_EQ(opened->descriptors.size(), sockets.size());
  for (size_t i = 0; i < sockets.size(); ++i) {
    EXPECT_EQ(InodeOf(opened->descriptors[i].get()), InodeOf(sockets[i].get())) << i;
  }
}

TEST(ParcelTest, MayHoldATextAlone) {
  absl::StatusOr<UniqueFd> parcel = PackParcel("text", {});
  ASSERT_TRUE(parcel.ok()) << parcel.status();
  const absl::StatusOr<Parcel> opened = OpenParcel(*std::move(parcel));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->text, "text");
  EXPECT_TRUE(opened->descriptors.empty());
}

TEST(ParcelTest, IsOpenedOnce) {
  absl::StatusOr<UniqueFd> parcel = PackParcel("text", {});
  ASSERT_TRUE(parcel.ok()) << parcel.status();
  EXPECT_TRUE(OpenParcel(UniqueFd(dup(parcel->get()))).ok());
  EXPECT_FALSE(OpenParcel(*std::move(parcel)).ok());
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
  absl::StatusOr<UniqueFd> parcel = PackParcel("", {held.get()});
  ASSERT_TRUE(parcel.ok()) << parcel.status();
  held.Reset();
  char byte = 0;
  EXPECT_LT(recv(peer.get(), &byte, 1, 0), 0) << "nobody has hung up";
  parcel->Reset();
  // The kernel may free it a moment later.
  fcntl(peer.get(), F_SETFL, 0);
  EXPECT_EQ(recv(peer.get(), &byte, 1, 0), 0);
}

TEST(ParcelTest, AnythingElseIsNone) {
  EXPECT_FALSE(OpenParcel(UniqueFd(eventfd(0, EFD_CLOEXEC))).ok());
  EXPECT_FALSE(OpenParcel(UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))).ok());
  int ends[2] = {};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const UniqueFd writer(ends[1]);
  ASSERT_EQ(send(writer.get(), "vmeventd parcel 2 0", 19, 0), 19);
  EXPECT_FALSE(OpenParcel(UniqueFd(ends[0])).ok());
}

}  // namespace
}  // namespace vmeventd
