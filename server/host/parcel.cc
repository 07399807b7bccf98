#include "server/host/parcel.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/passed_descriptors.h"

namespace vmeventd {
namespace {

absl::Status Failed(absl::string_view call) { return absl::ErrnoToStatus(errno, call); }

}  // namespace

absl::StatusOr<std::string> ReceiveFromParcel(int parcel, size_t max_text,
                                              std::vector<UniqueFd>* descriptors, bool stays) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxOfMessage * sizeof(int))> control{};
  std::string text(max_text, '\0');
  iovec data{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t size =
      recvmsg(parcel, &message, (stays ? MSG_PEEK : 0) | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (size < 0) return Failed("recvmsg");
  for (UniqueFd& descriptor : TakeDescriptors(&message)) {
    descriptors->push_back(std::move(descriptor));
  }
  if ((message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) != 0) {
    return absl::InvalidArgumentError("no descriptor is left for what it holds");
  }
  text.resize(static_cast<size_t>(size));
  return text;
}

absl::StatusOr<ParcelSockets> MakeParcelSockets() {
  int ends[2] = {};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return Failed("socketpair");
  return ParcelSockets{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

bool IsParcelSocket(int fd) {
  int domain = 0;
  int type = 0;
  socklen_t size = sizeof(int);
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX &&
         getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

uint64_t SocketCookie(int socket) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  return getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

absl::Status SendToParcel(int sender, absl::string_view text, absl::Span<const int> descriptors) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxOfMessage * sizeof(int))> control{};
  std::string bytes(text);
  iovec data{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size() * sizeof(int));
  }
  if (sendmsg(sender, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return Failed("sendmsg");
  return absl::OkStatus();
}

}  // namespace vmeventd
