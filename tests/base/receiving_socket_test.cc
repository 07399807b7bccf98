#include "base/receiving_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/passed_descriptors.h"
#include "base/socket_closer.h"
#include "tests/support/lingering_connection.h"
#include "tests/support/passed_descriptor.h"

namespace vmeventd {
namespace {

struct SocketPair {
  UniqueFd ours;
  UniqueFd peer;
};

// The kernel takes descriptors for both.
SocketPair ConnectedPair() {
  std::array<int, 2> pair{};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
  return {UniqueFd(pair[0]), UniqueFd(pair[1])};
}

struct PassedPipe {
  UniqueFd read;
  UniqueFd write;
};

PassedPipe MakePassedPipe() {
  std::array<int, 2> ends{};
  EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// Waits for the last reference to the other end to be dropped.
bool AwaitEnd(const UniqueFd& read) {
  char byte = 0;
  return ::read(read.get(), &byte, 1) == 0;
}

bool Ended(const UniqueFd& read) {
  pollfd poll_for{read.get(), POLLIN, 0};
  return poll(&poll_for, 1, 0) == 1;
}

int PassTo(const UniqueFd& socket, const UniqueFd& passed, int flags = 0) {
  return e2e::PassDescriptor(socket.get(), "x", passed.get(), flags);
}

std::string ReceivedFrom(ReceivingSocket* socket) {
  std::array<char, 100> buffer{};
  const ssize_t size = socket->Receive(buffer.data(), buffer.size());
  return size < 0 ? strerrorname_np(errno) : std::string(buffer.data(), static_cast<size_t>(size));
}

TEST(ReceivingSocketTest, APeerThatPassesADescriptorIsReadNoFurther) {
  SocketCloser closer;
  SocketPair pair = ConnectedPair();
  ReceivingSocket ours(std::move(pair.ours), &closer);
  PassedPipe pipe = MakePassedPipe();
  ASSERT_EQ(send(pair.peer.get(), "before", 6, 0), 6);
  EXPECT_EQ(ReceivedFrom(&ours), "before");
  ASSERT_EQ(PassTo(pair.peer, std::exchange(pipe.write, {})), 0);
  EXPECT_EQ(ReceivedFrom(&ours), "EBADMSG");
  EXPECT_EQ(ReceivedFrom(&ours), "EBADMSG");
  EXPECT_FALSE(Ended(pipe.read)) << "the read that met the descriptor has dropped it";
  ours.Reset();
  EXPECT_TRUE(AwaitEnd(pipe.read));
}

TEST(ReceivingSocketTest, RefusesADescriptorPassedWithOutOfBandData) {
  SocketCloser closer;
  SocketPair pair = ConnectedPair();
  ReceivingSocket ours(std::move(pair.ours), &closer);
  PassedPipe pipe = MakePassedPipe();
  ASSERT_EQ(PassTo(pair.peer, std::exchange(pipe.write, {}), MSG_OOB), 0);
  EXPECT_EQ(ReceivedFrom(&ours), "EBADMSG");
  EXPECT_FALSE(Ended(pipe.read));
}

TEST(ReceivingSocketTest, ReceiveReportsTheSender) {
  SocketCloser closer;
  SocketPair pair = ConnectedPair();
  const int on = 1;
  ASSERT_EQ(setsockopt(pair.ours.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
  ReceivingSocket ours(std::move(pair.ours), &closer);
  ASSERT_EQ(send(pair.peer.get(), "x", 1, 0), 1);
  char byte = 0;
  ucred sender{};
  EXPECT_EQ(ours.Receive(&byte, 1, &sender), 1);
  EXPECT_EQ(sender.pid, getpid());
  const PassedPipe pipe = MakePassedPipe();
  ASSERT_EQ(PassTo(pair.peer, pipe.write), 0);
  EXPECT_EQ(ours.Receive(&byte, 1, &sender), -1);
  EXPECT_EQ(errno, EBADMSG);
}

TEST(ReceivingSocketTest, ReportsTheEndAndAnEmptySocketAsRecvDoes) {
  SocketCloser closer;
  SocketPair pair = ConnectedPair();
  ReceivingSocket ours(std::move(pair.ours), &closer);
  EXPECT_EQ(ReceivedFrom(&ours), "EAGAIN");
  pair.peer.Reset();
  EXPECT_EQ(ReceivedFrom(&ours), "");
}

// Each close would take an hour. There are more of them than threads, and all end.
TEST(ReceivingSocketTest, APassedDescriptorWhoseCloseBlocksDelaysNobody) {
  SocketCloser closer;
  std::vector<e2e::LingeringConnection> lingering;
  for (int i = 0; i < 2 * SocketCloser::kMaxThreads; ++i) {
    lingering.push_back(e2e::MakeLingering());
    SocketPair pair = ConnectedPair();
    ASSERT_EQ(PassTo(pair.peer, lingering.back().socket), 0);
    lingering.back().socket.Reset();
    ReceivingSocket(std::move(pair.ours), &closer).Reset();
  }
  PassedPipe last = MakePassedPipe();
  closer.Close(std::move(last.write));
  EXPECT_TRUE(AwaitEnd(last.read));
}

TEST(ReceivingSocketTest, TheCloserIsFullWhileItsThreadsWait) {
  SocketCloser closer(absl::Hours(1));
  std::vector<e2e::LingeringConnection> lingering;
  for (int i = 0; i < SocketCloser::kMaxThreads; ++i) {
    lingering.push_back(e2e::MakeLingering());
    closer.Close(std::move(lingering.back().socket));
  }
  for (size_t i = 0; i < SocketCloser::kMaxWaiting; ++i) closer.Close(MakePassedPipe().write);
  EXPECT_TRUE(closer.full());
}

// Linux 6.16 refuses to send it, and an older kernel has it found.
TEST(ReceivingSocketTest, AnAcceptedConnectionReceivesNoDescriptors) {
  SocketCloser closer;
  const UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(bind(listener.get(), any, sizeof(address.sun_family)), 0);  // a name of its choice
  RefusePassedDescriptors(listener.get());
  ASSERT_EQ(listen(listener.get(), 1), 0);
  socklen_t size = sizeof(address);
  ASSERT_EQ(getsockname(listener.get(), any, &size), 0);
  const UniqueFd peer(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect(peer.get(), any, size), 0);
  const PassedPipe pipe = MakePassedPipe();
  const int error = PassTo(peer, pipe.write);
  ReceivingSocket ours(UniqueFd(accept(listener.get(), nullptr, nullptr)), &closer);
  EXPECT_EQ(ReceivedFrom(&ours), error == EPERM ? "EAGAIN" : "EBADMSG");
}

}  // namespace
}  // namespace vmeventd
