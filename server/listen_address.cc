#include "server/listen_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "server/quote.h"

namespace vmeventd {
namespace {

absl::Status Invalid(absl::string_view text, absl::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat(Quote(text), " ", rule));
}

absl::StatusOr<ListenAddress> ParseUnix(absl::string_view text, absl::string_view path) {
  if (absl::StartsWith(path, "///")) path.remove_prefix(2);  // unix:///PATH, as gRPC clients say
  if (path.empty()) return Invalid(text, "has no path after unix:");
  if (absl::EndsWith(path, "/"))
    return Invalid(text, "is the path of a directory, not of a socket");
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(std::string(path), error);
  if (error) return Invalid(text, absl::StrCat("cannot be made absolute: ", error.message()));
  ListenAddress address;
  address.path = absolute.lexically_normal().string();
  if (address.path.size() > kMaxSocketPath) {
    return Invalid(text, absl::StrCat("is too long for a Unix socket: ", address.path.size(),
                                      " bytes, at most ", kMaxSocketPath, " fit"));
  }
  return address;
}

bool IsLoopback(const std::string& host) {
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace

bool operator==(const ListenAddress& a, const ListenAddress& b) {
  return a.path == b.path && a.host == b.host && a.port == b.port;
}

std::string ListenAddress::ToString() const {
  if (is_unix()) return absl::StrCat("unix:", path);
  if (absl::StrContains(host, ":")) return absl::StrCat("[", host, "]:", port);
  return absl::StrCat(host, ":", port);
}

std::string ListenAddress::GrpcTarget() const {
  return absl::StrReplaceAll(ToString(), {{"%", "%25"}});
}

absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text) {
  absl::string_view rest = text;
  if (absl::ConsumePrefix(&rest, "unix:")) return ParseUnix(text, rest);

  const size_t colon = rest.rfind(':');
  if (colon == absl::string_view::npos) {
    return Invalid(text, "is neither unix:PATH nor HOST:PORT");
  }
  ListenAddress address;
  absl::string_view host = rest.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) {
    if (!absl::ConsumeSuffix(&host, "]"))
      return Invalid(text, "has a [ without its ] before :PORT");
  } else if (absl::StrContains(host, ":")) {
    return Invalid(text, "is ambiguous: write an IPv6 address as [ADDRESS]:PORT");
  }
  if (host.empty()) {
    return Invalid(text,
                   "has no host: write 127.0.0.1:PORT, for vmeventd listens on loopback only");
  }
  const absl::string_view port = rest.substr(colon + 1);
  uint32_t number = 0;
  if (port.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(port, &number) || number > 65535) {
    return Invalid(text,
                   absl::StrCat("has the port ", Quote(port), ", which is not in 0 to 65535"));
  }
  address.host = host == "localhost" ? "127.0.0.1" : std::string(host);
  address.port = static_cast<uint16_t>(number);
  if (!IsLoopback(address.host)) {
    return Invalid(text,
                   "is not a loopback address (127.0.0.0/8, [::1] or localhost): beyond the host "
                   "the events would travel unencrypted, and TLS is not available yet");
  }
  return address;
}

}  // namespace vmeventd
