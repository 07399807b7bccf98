#include "base/passed_descriptors.h"

#include <sys/socket.h>

#include <cstring>

namespace vmeventd {
namespace {

constexpr int kSoPassRights = 83;  // SO_PASSRIGHTS of Linux 6.16

}  // namespace

std::vector<UniqueFd> TakeDescriptors(msghdr* message) {
  std::vector<UniqueFd> descriptors;
  for (cmsghdr* header = CMSG_FIRSTHDR(message); header != nullptr;
       header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    std::vector<int> numbers((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    std::memcpy(numbers.data(), CMSG_DATA(header), numbers.size() * sizeof(int));
    for (const int number : numbers) descriptors.emplace_back(number);
  }
  return descriptors;
}

void RefusePassedDescriptors(int fd) {
  const int off = 0;
  setsockopt(fd, SOL_SOCKET, kSoPassRights, &off, sizeof(off));
}

bool MayPassDescriptors(int fd) {
  int family = AF_UNIX;
  int passes = 1;
  socklen_t size = sizeof(int);
  getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
  getsockopt(fd, SOL_SOCKET, kSoPassRights, &passes, &size);
  return family == AF_UNIX && passes != 0;
}

}  // namespace vmeventd
