#include "client/doctor/unix_sockets.h"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <sstream>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/system.h"

namespace vmeventd {
namespace {

absl::Status KernelError(const char* call, int error) {
  return absl::UnavailableError(absl::StrCat("cannot list Unix sockets: ", call, ": ",
                                             std::generic_category().message(error)));
}

// Copies a T from the beginning of `bytes`. False: they are too few.
template <typename T>
bool Read(absl::string_view bytes, T* value) {
  if (bytes.size() < sizeof(T)) return false;
  std::memcpy(value, bytes.data(), sizeof(T));
  return true;
}

// Takes what a header with its length begins off `bytes`; the next one is aligned to 4 bytes.
// Empty: there is no whole one.
template <typename Header>
absl::string_view TakeRecord(absl::string_view* bytes, size_t length) {
  constexpr size_t kAlignment = 4;
  if (length < sizeof(Header) || length > bytes->size()) return {};
  const absl::string_view record = bytes->substr(0, length);
  const size_t padded = (length + kAlignment - 1) / kAlignment * kAlignment;
  bytes->remove_prefix(std::min(padded, bytes->size()));
  return record;
}

bool ParseAttribute(uint16_t type, absl::string_view value, UnixSocket* socket) {
  switch (type) {
    case UNIX_DIAG_NAME:
      // An abstract name begins with a zero byte.
      if (!value.empty() && value[0] != '\0') {
        socket->path = std::string(value.substr(0, value.find('\0')));
      }
      return true;
    case UNIX_DIAG_VFS: {
      unix_diag_vfs file;
      if (!Read(value, &file)) return false;
      constexpr int kMinorBits = 20;  // of the kernel's own device numbers
      socket->file.device =
          makedev(file.udiag_vfs_dev >> kMinorBits, file.udiag_vfs_dev & ((1U << kMinorBits) - 1));
      socket->file.inode = file.udiag_vfs_ino;
      return true;
    }
    case UNIX_DIAG_PEER:
      return Read(value, &socket->peer);
    case UNIX_DIAG_RQLEN: {
      unix_diag_rqlen lengths;
      if (!Read(value, &lengths)) return false;
      if (socket->listening) socket->pending = lengths.udiag_rqueue;
      return true;
    }
    default:
      return true;
  }
}

bool ParseSocket(absl::string_view bytes, UnixSocket* socket) {
  unix_diag_msg head;
  if (!Read(bytes, &head)) return false;
  socket->inode = head.udiag_ino;
  socket->listening = head.udiag_state == TCP_LISTEN;
  bytes.remove_prefix(sizeof(head));
  nlattr attribute;
  while (Read(bytes, &attribute)) {
    const absl::string_view record = TakeRecord<nlattr>(&bytes, attribute.nla_len);
    if (record.empty()) return false;
    if (!ParseAttribute(attribute.nla_type, record.substr(sizeof(nlattr)), socket)) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<bool> ParseUnixSockets(absl::string_view answer, std::vector<UnixSocket>* sockets) {
  const absl::Status malformed =
      absl::InvalidArgumentError("cannot list Unix sockets: the kernel's answer is malformed");
  nlmsghdr head;
  while (Read(answer, &head)) {
    absl::string_view record = TakeRecord<nlmsghdr>(&answer, head.nlmsg_len);
    if (record.empty()) return malformed;
    record.remove_prefix(sizeof(nlmsghdr));
    if (head.nlmsg_type == NLMSG_DONE) return true;
    if (head.nlmsg_type == NLMSG_ERROR) {
      nlmsgerr error;
      return Read(record, &error) ? KernelError("sock_diag", -error.error) : malformed;
    }
    UnixSocket socket;
    if (!ParseSocket(record, &socket)) return malformed;
    sockets->push_back(std::move(socket));
  }
  return false;
}

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
  request.body.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN;
  if (send(diag.get(), &request, sizeof(request), 0) < 0) return KernelError("send", errno);
  std::vector<UnixSocket> sockets;
  std::vector<char> buffer(1 << 18);
  while (true) {
    const ssize_t size = recv(diag.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return KernelError("recv", size < 0 ? errno : ECONNRESET);
    const auto done = ParseUnixSockets({buffer.data(), static_cast<size_t>(size)}, &sockets);
    if (!done.ok()) return done.status();
    if (*done) return sockets;
  }
}

std::vector<UnixSocket> ParseProcNetUnix(absl::string_view text) {
  constexpr uint32_t kListens = 1 << 16;  // SO_ACCEPTCON
  std::vector<UnixSocket> sockets;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    // "Num RefCount Protocol Flags Type St Inode Path", of which a socket may have no path.
    std::istringstream columns{std::string(line)};
    std::string other;
    std::string flags;
    UnixSocket socket;
    uint32_t bits = 0;
    columns >> other >> other >> other >> flags >> other >> other >> socket.inode;
    if (!columns || !absl::SimpleHexAtoi(flags, &bits)) continue;
    columns.get();
    std::getline(columns, socket.path);
    // The name of an abstract one.
    if (absl::StartsWith(socket.path, "@")) socket.path.clear();
    socket.listening = (bits & kListens) != 0;
    sockets.push_back(std::move(socket));
  }
  return sockets;
}

absl::StatusOr<std::vector<UnixSocket>> ReadUnixSocketsOfProc() {
  constexpr size_t kMaxBytes = size_t{64} << 20;
  const absl::StatusOr<std::string> text = ReadSmallFile("/proc/net/unix", kMaxBytes);
  if (!text.ok()) return text.status();
  return ParseProcNetUnix(*text);
}

}  // namespace vmeventd
