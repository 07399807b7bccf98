#include "tests/system/hostile/rogue_monitor.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <new>

#include "tests/support/fail.h"
#include "tests/support/unix_socket.h"

namespace vmeventd::e2e {

bool RogueMonitor::Peer::Send(const std::string& bytes) const {
  size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t size = send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (size <= 0) return false;
    sent += static_cast<size_t>(size);
  }
  return true;
}

bool RogueMonitor::Peer::ReadCommand() const {
  for (char byte = '\0'; byte != '\n';) {
    if (recv(fd_, &byte, 1, 0) != 1) return false;
  }
  return true;
}

bool RogueMonitor::Peer::Handshake() const {
  if (!Send("{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
            "\"package\": \"\"}, \"capabilities\": []}}\r\n")) {
    return false;
  }
  for (const char* reply : {"{}", "{}", "{}", R"({"status": "running", "running": true})"}) {
    if (!ReadCommand() || !Send(std::string("{\"return\": ") + reply + "}\r\n")) return false;
  }
  return true;
}

RogueMonitor::RogueMonitor(const std::string& path, const Script& script) {
  int ready[2];
  if (pipe2(ready, O_CLOEXEC) != 0) FailErrno("pipe2");
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) FailErrno("fork");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0);
    // Close the test's other descriptors here, whose peers wait for their end.
    constexpr int kReady = 3;
    if (dup2(ready[1], kReady) < 0 || close_range(kReady + 1, ~0U, 0) != 0) _exit(1);
    const UniqueFd listener(ListenUnix(path));
    close(kReady);
    Serve(listener, script);
  }
  close(ready[1]);
  char byte;
  if (read(ready[0], &byte, 1) != 0) Fail("a rogue monitor sent something before its script");
  close(ready[0]);
}

RogueMonitor::~RogueMonitor() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void RogueMonitor::Serve(const UniqueFd& listener, const Script& script) {
  for (int number = 1;; ++number) {
    const UniqueFd peer(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!peer.valid()) _exit(1);
    script(Peer(peer.get()), number);
    char bytes[4096];
    while (recv(peer.get(), bytes, sizeof(bytes), 0) > 0) {
    }
  }
}

}  // namespace vmeventd::e2e
