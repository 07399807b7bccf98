#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/system.h"
#include "client/doctor/doctor.h"

namespace vmeventd::client {
namespace {

absl::Status KernelError(const char* call, int error) {
  return absl::UnavailableError(absl::StrCat("cannot list Unix sockets: ", call, ": ",
                                             std::generic_category().message(error),
                                             "; load the kernel's module unix_diag"));
}

UnixSocket SocketOf(const nlmsghdr* message) {
  const auto* const head = static_cast<const unix_diag_msg*>(NLMSG_DATA(message));
  UnixSocket socket;
  socket.inode = head->udiag_ino;
  socket.listening = head->udiag_state == TCP_LISTEN;
  int rest = static_cast<int>(NLMSG_PAYLOAD(message, sizeof(*head)));
  for (const auto* attribute = reinterpret_cast<const rtattr*>(head + 1); RTA_OK(attribute, rest);
       attribute = RTA_NEXT(attribute, rest)) {
    const void* const data = RTA_DATA(attribute);
    if (attribute->rta_type == UNIX_DIAG_NAME) {
      const absl::string_view name(static_cast<const char*>(data), RTA_PAYLOAD(attribute));
      // An abstract name begins with a zero byte.
      socket.path = std::string(name.substr(0, name.find('\0')));
    } else if (attribute->rta_type == UNIX_DIAG_PEER) {
      socket.peer = *static_cast<const uint32_t*>(data);
    } else if (attribute->rta_type == UNIX_DIAG_RQLEN && socket.listening) {
      socket.waited_at = static_cast<const unix_diag_rqlen*>(data)->udiag_rqueue > 0;
    }
  }
  return socket;
}

}  // namespace

absl::StatusOr<std::vector<UnixSocket>> ReadUnixSockets() {
  const UniqueFd diag(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!diag.valid()) return KernelError("socket", errno);
  struct {
    nlmsghdr head;
    unix_diag_req body;
  } request = {};
  request.head.nlmsg_len = sizeof(request);
  request.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.body.sdiag_family = AF_UNIX;
  request.body.udiag_states = UINT32_MAX;
  request.body.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN;
  if (send(diag.get(), &request, sizeof(request), 0) < 0) return KernelError("send", errno);
  std::vector<UnixSocket> sockets;
  std::vector<char> buffer(1 << 18);
  while (true) {
    const ssize_t size = recv(diag.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return KernelError("recv", size < 0 ? errno : ECONNRESET);
    auto rest = static_cast<uint32_t>(size);  // the kernel aligns each message
    for (const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
         NLMSG_OK(message, rest); message = NLMSG_NEXT(message, rest)) {
      if (message->nlmsg_type == NLMSG_DONE) return sockets;
      if (message->nlmsg_type == NLMSG_ERROR) {
        return KernelError("sock_diag", -static_cast<const nlmsgerr*>(NLMSG_DATA(message))->error);
      }
      sockets.push_back(SocketOf(message));
    }
  }
}

}  // namespace vmeventd::client
