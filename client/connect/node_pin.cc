#include "client/connect/node_pin.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"

namespace vmeventd::client {

absl::StatusOr<std::vector<std::string>> ResolveHost(const ServerAddress& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* first = nullptr;
  const auto unknown = [](int failure) { return absl::UnavailableError(gai_strerror(failure)); };
  const int failure = getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &first);
  if (failure != 0) return unknown(failure);
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> all(first, &freeaddrinfo);
  std::vector<std::string> out;
  for (const addrinfo* one = first; one != nullptr; one = one->ai_next) {
    char digits[NI_MAXHOST] = "";
    const int bad = getnameinfo(one->ai_addr, one->ai_addrlen, digits, sizeof(digits), nullptr, 0,
                                NI_NUMERICHOST);
    if (bad != 0) return unknown(bad);
    if (std::find(out.begin(), out.end(), digits) == out.end()) out.emplace_back(digits);
  }
  return out;
}

Resolver StoppableResolver(Resolver resolver, std::stop_token stop) {
  return [resolver = std::move(resolver), stop = std::move(stop)](
             const ServerAddress& address) -> absl::StatusOr<std::vector<std::string>> {
    struct Lookup {
      std::mutex mutex;
      std::condition_variable_any done;
      std::optional<absl::StatusOr<std::vector<std::string>>> result;  // under mutex
    };
    const auto lookup = std::make_shared<Lookup>();
    std::thread([lookup, resolver, address] {
      auto result = resolver(address);
      {
        const std::lock_guard<std::mutex> lock(lookup->mutex);
        lookup->result = std::move(result);
      }
      lookup->done.notify_one();
    }).detach();
    std::unique_lock<std::mutex> lock(lookup->mutex);
    lookup->done.wait(lock, stop, [&lookup] { return lookup->result.has_value(); });
    if (!lookup->result.has_value()) return absl::CancelledError("stopped");
    return *std::move(lookup->result);
  };
}

namespace {

bool IsIpv6(const std::string& numeric) { return absl::StrContains(numeric, ':'); }

}  // namespace

NodeIdentity IdentityOf(const v1::GetServerInfoResponse& info) {
  return {info.node_id(), info.node(), info.journal_id()};
}

bool GoesOn(const NodeIdentity& known, const NodeIdentity& found, bool same_address) {
  const bool journals = !known.journal_id.empty() && !found.journal_id.empty();
  if (journals && known.journal_id == found.journal_id) return true;
  if (journals && !same_address) return false;
  if (!known.node_id.empty() && known.node_id == found.node_id) return true;
  return known.node.empty() || found.node.empty() || known.node == found.node;
}

NodePin::NodePin(ServerAddress address, Resolver resolver)
    : address_(std::move(address)), resolver_(std::move(resolver)) {}

absl::StatusOr<ServerAddress> NodePin::Next() {
  if (address_.is_unix()) return address_;
  if (untried_.empty()) {
    const absl::StatusOr<std::vector<std::string>> resolved = resolver_(address_);
    // A followed node may return before its name does.
    if (!resolved.ok() && kept_.empty()) return resolved.status();
    if (!kept_.empty()) untried_.push_back(kept_);
    if (resolved.ok()) {
      const auto ipv6 =
          static_cast<size_t>(std::count_if(resolved->begin(), resolved->end(), IsIpv6));
      ambiguous_ = ipv6 > 1 || resolved->size() - ipv6 > 1;
      for (const std::string& numeric : *resolved) {
        if (numeric != kept_) untried_.push_back(numeric);
      }
    }
  }
  ServerAddress next = address_;
  next.numeric = current_ = untried_.front();
  untried_.pop_front();
  return next;
}

bool NodePin::OnAnswer(const NodeIdentity& identity) {
  if (node_ && !GoesOn(*node_, identity, current_ == kept_)) return false;
  node_ = identity;
  kept_ = current_;
  untried_.clear();
  return true;
}

}  // namespace vmeventd::client
