#include "tests/e2e/rogue_monitor.h"

#include <sys/socket.h>

#include <utility>

#include "tests/e2e/unix_socket.h"

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

RogueMonitor::RogueMonitor(const std::string& path, Script script)
    : script_(std::move(script)), listener_(ListenUnix(path)), thread_([this] { Serve(); }) {}

RogueMonitor::~RogueMonitor() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    shutdown(listener_.get(), SHUT_RDWR);
    if (peer_ >= 0) shutdown(peer_, SHUT_RDWR);
  }
  thread_.join();
}

void RogueMonitor::Serve() {
  while (true) {
    const UniqueFd peer(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!peer.valid()) return;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) return;
      peer_ = peer.get();
    }
    script_(Peer(peer.get()), ++connections_);
    char bytes[4096];
    while (recv(peer.get(), bytes, sizeof(bytes), 0) > 0) {
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    peer_ = -1;
  }
}

}  // namespace vmeventd::e2e
