#include "watcher/libvirt/library_sockets.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/receiving_socket.h"

namespace {

thread_local bool refuses_descriptors = false;

}  // namespace

// Stands in the place of the C library's for the program and the libraries that it loads.
extern "C" __attribute__((visibility("default"))) int socket(int domain, int type,
                                                             int protocol) noexcept {
  const auto fd = static_cast<int>(syscall(SYS_socket, domain, type, protocol));
  if (fd >= 0 && refuses_descriptors && domain == AF_UNIX) vmeventd::RefusePassedDescriptors(fd);
  return fd;
}

namespace vmeventd {

LibrarySocketsRefuseDescriptors::LibrarySocketsRefuseDescriptors() { refuses_descriptors = true; }
LibrarySocketsRefuseDescriptors::~LibrarySocketsRefuseDescriptors() { refuses_descriptors = false; }

}  // namespace vmeventd
