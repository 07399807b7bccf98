#include "watcher/signals/processor_news.h"

#include <linux/filter.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>

namespace vmeventd {
namespace {

// Four bytes as the filter loads them.
constexpr uint32_t Word(const char (&text)[5]) {
  uint32_t word = 0;
  for (int i = 0; i < 4; ++i) word = (word << 8) | static_cast<uint8_t>(text[i]);
  return word;
}

}  // namespace

UniqueFd ListenForProcessors() {
  UniqueFd socket(
      ::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  if (!socket.valid()) return socket;
  // "online@/devices/system/cpu/cpu1", "offline@/devices/..."
  std::array<sock_filter, 7> code = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, Word("onli"), 0, 2),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 4),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, Word("ne@/"), 1, 2),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, Word("offl"), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
      BPF_STMT(BPF_RET | BPF_K, 0),
  }};
  const sock_fprog program{static_cast<uint16_t>(code.size()), code.data()};
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1;  // the kernel's; udevd's are 2
  // Bound last, so that nothing passes the filter.
  if (setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0 ||
      bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    socket.Reset();
  }
  return socket;
}

bool TakeProcessorNews(int socket) {
  constexpr int kMaxMessages = 64;  // what is left makes it readable again
  std::array<char, 64> ignored;
  int taken = 0;
  while (taken < kMaxMessages &&
         (recv(socket, ignored.data(), ignored.size(), MSG_DONTWAIT) >= 0 || errno == ENOBUFS)) {
    ++taken;
  }
  return taken > 0;
}

}  // namespace vmeventd
