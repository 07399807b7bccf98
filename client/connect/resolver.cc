#include "client/connect/resolver.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vmeventd::client {

absl::StatusOr<std::vector<std::string>> ResolveHost(const ServerAddress& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* first = nullptr;
  const auto unknown = [&address](int failure) {
    return absl::UnavailableError(
        absl::StrCat("the host ", address.host, " is not known: ", gai_strerror(failure)));
  };
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

}  // namespace vmeventd::client
