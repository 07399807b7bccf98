#include "server/config/listen_address.h"

#include <arpa/inet.h>
#include <grp.h>
#include <netinet/in.h>

#include <cerrno>
#include <charconv>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "base/errno_status.h"
#include "base/quote.h"
#include "base/unix_address.h"

namespace vmeventd {
namespace {

constexpr mode_t kDefaultMode = 0660;
constexpr mode_t kOthers = 0007;

absl::Status ReadPath(absl::string_view text, absl::string_view path, ListenAddress* address) {
  if (absl::StartsWith(path, "///"))
    path.remove_prefix(2);  // unix:///PATH, the form of gRPC clients
  if (path.empty()) return InvalidText(text, "has no path after unix:");
  if (absl::EndsWith(path, "/")) {
    return InvalidText(text, "is the path of a directory, not of a socket");
  }
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(std::string(path), error);
  if (error) return InvalidText(text, absl::StrCat("cannot be made absolute: ", error.message()));
  address->path = absolute.lexically_normal().string();
  const std::string refusal = UnixAddress::Refusal(address->path);
  if (refusal.empty()) return absl::OkStatus();
  return InvalidText(text, absl::StrCat("cannot be used: ", refusal));
}

absl::Status ReadHostAndPort(absl::string_view text, absl::string_view rest,
                             ListenAddress* address) {
  const size_t colon = rest.rfind(':');
  if (colon == absl::string_view::npos) {
    return InvalidText(text, "is neither unix:PATH nor HOST:PORT");
  }
  absl::string_view host = rest.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) {
    if (!absl::ConsumeSuffix(&host, "]")) {
      return InvalidText(text, "has a [ without a ] before :PORT");
    }
  } else if (absl::StrContains(host, ":")) {
    return InvalidText(text, "is ambiguous: write an IPv6 address as [ADDRESS]:PORT");
  }
  if (host.empty()) {
    return InvalidText(text,
                       "has no host: write 127.0.0.1:PORT, or 0.0.0.0:PORT for all addresses");
  }
  const absl::string_view port = rest.substr(colon + 1);
  uint32_t number = 0;
  if (port.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(port, &number) || number > 65535) {
    return InvalidText(text,
                       absl::StrCat("has the port ", Quote(port), ", which is not in 0 to 65535"));
  }
  address->host = host == "localhost" ? "127.0.0.1" : std::string(host);
  address->port = static_cast<uint16_t>(number);
  in6_addr parsed{};
  if (inet_pton(AF_INET, address->host.c_str(), &parsed) != 1 &&
      inet_pton(AF_INET6, address->host.c_str(), &parsed) != 1) {
    return InvalidText(
        text, absl::StrCat("has the host ", Quote(host),
                           ", which is not an IP address; write one in digits, or localhost"));
  }
  return absl::OkStatus();
}

absl::Status ReadOption(absl::string_view text, absl::string_view name, absl::string_view value,
                        ListenAddress* address) {
  const bool is_unix = absl::StartsWith(text, "unix:");
  if (name == "role") {
    if (value != "reader") {
      return InvalidText(
          text, absl::StrCat("has the role ", Quote(value), "; use role=reader, or no role"));
    }
    address->readers_only = true;
  } else if (is_unix && name == "mode") {
    const char* const end = value.data() + value.size();
    const auto [rest, error] = std::from_chars(value.data(), end, address->mode, 8);
    if (error != std::errc() || rest != end || value.size() < 3 || address->mode > 0777) {
      return InvalidText(text,
                         absl::StrCat("has the mode ", Quote(value), "; use one such as 0660"));
    }
  } else if (is_unix && name == "group") {
    if (value.empty()) return InvalidText(text, "has no name after group=");
    address->group = std::string(value);
    gid_t number = 0;
    if (absl::SimpleAtoi(value, &number)) address->gid = number;
  } else {
    return InvalidText(text, absl::StrCat("has the option ", Quote(name), "; the options are ",
                                          is_unix ? "role=, mode= and group=" : "role="));
  }
  return absl::OkStatus();
}

// Removes the options from the end of `rest`. A comma without a = after it belongs to the path.
absl::Status ReadOptions(absl::string_view text, absl::string_view* rest, ListenAddress* address) {
  for (;;) {
    const size_t comma = rest->rfind(',');
    const size_t equals = rest->find('=', comma == absl::string_view::npos ? 0 : comma);
    if (comma == absl::string_view::npos || equals == absl::string_view::npos) break;
    const absl::Status status = ReadOption(text, rest->substr(comma + 1, equals - comma - 1),
                                           rest->substr(equals + 1), address);
    if (!status.ok()) return status;
    *rest = rest->substr(0, comma);
  }
  if ((address->mode & kOthers) != 0 && !address->readers_only) {
    return InvalidText(text,
                       "would let every user of the host declare intents: end "
                       "mode= with 0, or use role=reader");
  }
  return absl::OkStatus();
}

}  // namespace

std::string ListenAddress::ToString() const {
  if (is_unix()) return absl::StrCat("unix:", path);
  if (is_ipv6()) return absl::StrCat("[", host, "]:", port);
  return absl::StrCat(host, ":", port);
}

std::string ListenAddress::ToFlag() const {
  std::string out = ToString();
  if (readers_only) absl::StrAppend(&out, ",role=reader");
  if (mode != kDefaultMode) absl::StrAppend(&out, ",mode=", absl::StrFormat("%04o", mode));
  if (!group.empty()) absl::StrAppend(&out, ",group=", group);
  return out;
}

absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text) {
  ListenAddress address;
  absl::string_view rest = text;
  absl::Status status = ReadOptions(text, &rest, &address);
  if (!status.ok()) return status;
  status = absl::ConsumePrefix(&rest, "unix:") ? ReadPath(text, rest, &address)
                                               : ReadHostAndPort(text, rest, &address);
  if (!status.ok()) return status;
  return address;
}

absl::Status ResolveGroup(ListenAddress* address) {
  if (address->group.empty() || address->gid.has_value()) return absl::OkStatus();
  errno = 0;
  const group* const found = getgrnam(address->group.c_str());
  if (found == nullptr) {
    const int error = errno;
    const std::string flag = Quote(address->ToFlag());
    const std::string name = Quote(address->group);
    // Name services that know no such group differ in what they leave in errno (getgrnam(3)).
    if (error == 0 || error == ENOENT || error == ESRCH) {
      return absl::NotFoundError(
          absl::StrCat(flag, " has the group ", name, ", which does not exist"));
    }
    return ErrnoStatus(flag, absl::StrCat("its group ", name, " cannot be looked up"), error);
  }
  address->gid = found->gr_gid;
  return absl::OkStatus();
}

}  // namespace vmeventd
