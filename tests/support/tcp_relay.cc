#include "tests/support/tcp_relay.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/loopback.h"

namespace vmeventd::e2e {
namespace {

// Limit of the delay until a change of Cut is seen.
constexpr int kSliceMillis = 50;

}  // namespace

TcpRelay::TcpRelay(uint16_t server_port)
    : server_port_(server_port),
      listener_(ListenOnLoopback(&port_)),
      stop_(eventfd(0, EFD_CLOEXEC)) {
  thread_ = std::thread([this] { Run(); });
}

TcpRelay::~TcpRelay() {
  eventfd_write(stop_.get(), 1);
  thread_.join();
}

bool TcpRelay::Forward(Pair* pair, bool from_client) {
  const UniqueFd& from = from_client ? pair->client : pair->server;
  const UniqueFd& to = from_client ? pair->server : pair->client;
  std::array<char, 65536> buffer{};
  const ssize_t size = read(from.get(), buffer.data(), buffer.size());
  if (size <= 0) return false;
  std::string_view bytes(buffer.data(), static_cast<size_t>(size));
  const char* const text = drop_after_;
  if (from_client && text != nullptr && bytes.find(text) != bytes.npos) {
    pair->drops_answers = true;
    drop_after_ = nullptr;
  }
  if (!from_client && pair->drops_answers) {
    dropped_ += bytes.size();
    return true;
  }
  while (!bytes.empty()) {
    const ssize_t sent = send(to.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void TcpRelay::Run() {
  while (true) {
    std::vector<pollfd> inputs{{stop_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    const bool cut = cut_;
    if (cut) inputs.pop_back();
    if (!cut) {
      for (const Pair& pair : pairs_) {
        inputs.push_back({pair.client.get(), POLLIN, 0});
        inputs.push_back({pair.server.get(), POLLIN, 0});
      }
    }
    poll(inputs.data(), inputs.size(), kSliceMillis);
    if (inputs[0].revents != 0) return;
    if (cut) continue;
    size_t at = 2;
    for (Pair& pair : pairs_) {
      if (inputs[at].revents != 0) pair.broken = !Forward(&pair, true);
      if (!pair.broken && inputs[at + 1].revents != 0) pair.broken = !Forward(&pair, false);
      at += 2;
    }
    pairs_.remove_if([](const Pair& pair) { return pair.broken; });
    if (inputs[1].revents == 0) continue;
    UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    UniqueFd server = ConnectToLoopback(server_port_);
    if (client.valid() && server.valid()) {
      pairs_.push_back({.client = std::move(client), .server = std::move(server)});
    }
  }
}

}  // namespace vmeventd::e2e
