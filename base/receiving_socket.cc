#include "base/receiving_socket.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/passed_descriptors.h"
#include "base/socket_closer.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxLook = 16 << 10;  // bytes looked at in one call

}  // namespace

ReceivingSocket::ReceivingSocket(UniqueFd socket, SocketCloser* closer)
    : socket_(std::move(socket)) {
  if (!MayPassDescriptors(get())) return;
  closer_ = closer;
  // Without SO_OOBINLINE, a read would skip the urgent byte, and drop the descriptors that came
  // with it.
  const int on = 1;
  setsockopt(get(), SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
}

void ReceivingSocket::Reset() {
  if (closer_ != nullptr && socket_.valid()) closer_->Close(std::move(socket_));
  socket_.Reset();
}

// `to` is written through the iovec.
// NOLINTNEXTLINE(readability-non-const-parameter)
ssize_t ReceivingSocket::Receive(char* to, size_t size, ucred* sender) {
  // Room for the sender only.
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred))> control;
  iovec data{to, size};
  msghdr message{};
  const auto receive = [&](int flags) {
    message = {};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = sender == nullptr ? 0 : control.size();
    return recvmsg(get(), &message, flags | MSG_DONTWAIT);
  };
  if (closer_ != nullptr) {
    // Peeking takes references of its own to passed descriptors, and never drops the last one. The
    // peeked bytes go elsewhere: `to` gets only what is taken from the socket.
    std::array<char, kMaxLook> look;
    data = {look.data(), std::min(size, look.size())};
    const ssize_t seen = receive(MSG_PEEK);
    if (seen <= 0) return seen;
    if ((message.msg_flags & MSG_CTRUNC) != 0) {
      errno = EBADMSG;
      return -1;
    }
    data = {to, static_cast<size_t>(seen)};
  }
  const ssize_t got = receive(0);
  const cmsghdr* const header = got > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header == nullptr || header->cmsg_level != SOL_SOCKET ||
      header->cmsg_type != SCM_CREDENTIALS) {
    return got;
  }
  ucred credentials{};
  std::memcpy(&credentials, CMSG_DATA(header), sizeof(credentials));
  if (credentials.pid > 0) *sender = credentials;
  return got;
}

}  // namespace vmeventd
