// A libvirt that attacks libvirt's client library: a real one, behind a socket of the attacker.

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "tests/support/child_process.h"
#include "tests/support/unix_socket.h"
#include "tests/system/libvirt_test.h"

namespace vmeventd::e2e {
namespace {

bool KernelRefusesDescriptors() {
  constexpr int kSoPassRights = 83;
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int value = 0;
  socklen_t size = sizeof(value);
  return getsockopt(socket.get(), SOL_SOCKET, kSoPassRights, &value, &size) == 0;
}

// Passes the bytes of one connection on to a libvirtd and back.
class Front {
 public:
  Front(const std::string& path, std::string libvirtd)
      : listener_(ListenUnix(path)),
        thread_([this, libvirtd = std::move(libvirtd)] { Serve(libvirtd); }) {}
  ~Front() {
    for (const int each : {listener_.get(), client_.load()}) shutdown(each, SHUT_RDWR);
    thread_.join();
  }
  Front(const Front&) = delete;
  Front& operator=(const Front&) = delete;

  // vmeventd's connection; -1: it has none yet.
  int client() const { return client_; }

 private:
  void Serve(const std::string& libvirtd) {
    const UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client.valid()) return;
    client_ = client.get();
    const UniqueFd server(ConnectUnix(libvirtd));
    std::array<pollfd, 2> ends = {{{client.get(), POLLIN, 0}, {server.get(), POLLIN, 0}}};
    while (poll(ends.data(), ends.size(), -1) > 0) {
      for (size_t from = 0; from < ends.size(); ++from) {
        if (ends[from].revents == 0) continue;
        std::array<char, 1 << 16> bytes;
        const ssize_t got = recv(ends[from].fd, bytes.data(), bytes.size(), 0);
        if (got <= 0) {
          client_ = -1;
          return;
        }
        send(ends[1 - from].fd, bytes.data(), static_cast<size_t>(got), MSG_NOSIGNAL);
      }
    }
  }

  const UniqueFd listener_;
  std::atomic<int> client_ = -1;
  std::thread thread_;
};

TEST_F(LibvirtTest, ALibvirtThatPassesDescriptorsWhoseCloseTakesAnHourStallsNoOther) {
  if (!KernelRefusesDescriptors()) GTEST_SKIP() << "needs SO_PASSRIGHTS, of Linux 6.16";
  Libvirtd pod(dir() / "b");
  const std::string path = dir() / "pod-sock";
  const Front front(path, pod.socket());
  Follow({libvirtd().uri(), absl::StrCat("qemu+unix:///system?socket=", path)});
  pod.Create({.name = "hostile"});
  stream().Wait("hostile", v1::EVENT_TYPE_STARTED);

  // Stopped, it has the last references when it reads.
  daemon().Signal(SIGSTOP);
  ChildProcess passer(
      {.arguments = {VMEVENTD_PASS_LINGERING, "no length"}, .descriptor = front.client()});
  int error = -1;
  EXPECT_TRUE(absl::SimpleAtoi(passer.ReadUntil("\n"), &error));
  EXPECT_EQ(error, EPERM);
  daemon().Signal(SIGCONT);

  libvirtd().Create({});
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  libvirtd().Virsh({"destroy", "vm1"});
  ExpectStopped(kHostDestroy);
}

}  // namespace
}  // namespace vmeventd::e2e
