#include "client/connect/resolver.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/status/status.h"

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

}  // namespace vmeventd::client
