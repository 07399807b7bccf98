#include "server/host/parcel.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "base/passed_descriptors.h"

namespace vmeventd {
namespace {

// The first message has the text and says how many descriptors follow, each of the others as many
// as the kernel takes.
constexpr char kFirstMessage[] = "vmeventd parcel 1 ";
constexpr char kNextMessage[] = "+";
constexpr size_t kMaxFirstText = 64;
constexpr int kSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;

absl::Status Failed(absl::string_view call) { return absl::ErrnoToStatus(errno, call); }

absl::StatusOr<UniqueFd> SealedFile(absl::string_view text) {
  UniqueFd file(memfd_create("vmeventd", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.valid()) return Failed("memfd_create");
  while (!text.empty()) {
    const ssize_t size = write(file.get(), text.data(), text.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return Failed("write");
    text.remove_prefix(static_cast<size_t>(size));
  }
  if (fcntl(file.get(), F_ADD_SEALS, kSeals) != 0) return Failed("F_ADD_SEALS");
  return file;
}

absl::StatusOr<std::string> ReadSealedFile(int file) {
  const int seals = fcntl(file, F_GET_SEALS);
  struct stat status {};
  if (seals < 0 || (seals & kSeals) != kSeals || fstat(file, &status) != 0 ||
      static_cast<size_t>(status.st_size) > Parcel::kMaxText) {
    return absl::InvalidArgumentError("its text is no sealed file");
  }
  std::string text(static_cast<size_t>(status.st_size), '\0');
  for (size_t read = 0; read < text.size();) {
    const ssize_t size =
        pread(file, text.data() + read, text.size() - read, static_cast<off_t>(read));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return Failed("pread");
    read += static_cast<size_t>(size);
  }
  return text;
}

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
  if (sendmsg(sender, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return absl::OkStatus();
  const bool too_many = errno == ETOOMANYREFS;
  absl::Status failed = Failed("sendmsg");
  return too_many ? absl::AbortedError(failed.message()) : failed;
}

absl::StatusOr<UniqueFd> PackParcel(absl::string_view text, const std::vector<int>& descriptors) {
  if (text.size() > Parcel::kMaxText || descriptors.size() > Parcel::kMaxDescriptors) {
    return absl::ResourceExhaustedError("more than a parcel holds");
  }
  absl::StatusOr<ParcelSockets> sockets = MakeParcelSockets();
  if (!sockets.ok()) return sockets.status();
  const int sender = sockets->sender.get();
  absl::StatusOr<UniqueFd> file = SealedFile(text);
  if (!file.ok()) return file.status();
  const int number = file->get();
  absl::Status status =
      SendToParcel(sender, absl::StrCat(kFirstMessage, descriptors.size()), {&number, 1});
  const absl::Span<const int> all = descriptors;
  for (size_t at = 0; status.ok() && at < all.size(); at += kMaxOfMessage) {
    status = SendToParcel(sender, kNextMessage, all.subspan(at, kMaxOfMessage));
  }
  if (!status.ok()) return status;
  return std::move(sockets->parcel);
}

absl::StatusOr<Parcel> OpenParcel(UniqueFd parcel) {
  if (!IsParcelSocket(parcel.get())) return absl::InvalidArgumentError("no parcel of vmeventd");
  std::vector<UniqueFd> file;
  const absl::StatusOr<std::string> first = ReceiveFromParcel(parcel.get(), kMaxFirstText, &file);
  if (!first.ok()) return first.status();
  absl::string_view count_text = *first;
  size_t count = 0;
  if (!absl::ConsumePrefix(&count_text, kFirstMessage) || file.size() != 1 ||
      !absl::SimpleAtoi(count_text, &count) || count > Parcel::kMaxDescriptors) {
    return absl::InvalidArgumentError("no parcel of this version of vmeventd");
  }
  Parcel opened;
  while (opened.descriptors.size() < count) {
    const absl::StatusOr<std::string> next =
        ReceiveFromParcel(parcel.get(), kMaxFirstText, &opened.descriptors);
    if (!next.ok()) return next.status();
    if (*next != kNextMessage) return absl::InvalidArgumentError("a parcel that is not whole");
  }
  if (opened.descriptors.size() != count) {
    return absl::InvalidArgumentError("a parcel with more than it says");
  }
  absl::StatusOr<std::string> text = ReadSealedFile(file.front().get());
  if (!text.ok()) return text.status();
  opened.text = *std::move(text);
  return opened;
}

}  // namespace vmeventd
