#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/passed_descriptors.h"
#include "server/daemon.h"

// libvirt's client library makes its sockets itself, and reads them with recv(2): a descriptor that
// the peer passed would be closed on the thread that reads, `libvirt-events`, which all libvirts
// share. The program's own connect() comes before libc's for every library that it loads, and has
// the kernel refuse what is passed while nobody can have passed anything yet.
//
// The C library's parameters have underscores.
// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name)
extern "C" __attribute__((visibility("default"))) int connect(int fd, const sockaddr* address,
                                                              socklen_t size) {
  if (address != nullptr && size >= sizeof(sa_family_t) && address->sa_family == AF_UNIX) {
    vmeventd::RefusePassedDescriptors(fd);
  }
  return static_cast<int>(syscall(SYS_connect, fd, address, size));
}

int main(int argc, char** argv) { return vmeventd::RunProgram({argv + 1, argv + argc}); }
