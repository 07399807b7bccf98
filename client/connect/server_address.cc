#include "client/connect/server_address.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/unix_address.h"
#include "client/output/shell_quote.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

absl::Status BadAddress(absl::string_view text, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("the server address \"", text, "\" ", what,
                   "; write unix:/run/vmeventd/vmeventd.sock, HOST, HOST:PORT or ssh://HOST"));
}

absl::StatusOr<ServerAddress> ParseUnix(absl::string_view text) {
  absl::string_view path = absl::StripPrefix(text, "unix:");
  if (absl::StartsWith(path, "///")) path.remove_prefix(2);  // the URI form unix:///path
  if (path.empty()) return BadAddress(text, "names no path");
  if (absl::StartsWith(path, "//")) return BadAddress(text, "names a host before the path");
  if (absl::StrContains(path, '\0')) return BadAddress(text, "has a NUL in its path");
  if (const std::string refusal = UnixAddress::Refusal(path); !refusal.empty()) {
    return BadAddress(text, absl::StrCat("cannot be used: ", refusal));
  }
  ServerAddress address;
  address.path = std::string(path);
  return address;
}

bool IsNumber(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

bool IsPort(absl::string_view port) {
  uint32_t number = 0;
  return IsNumber(port) && absl::SimpleAtoi(port, &number) && number >= 1 && number <= 65535;
}

// The fault of a port that is none.
std::string BadPort(absl::string_view port) {
  if (port.empty()) return "has no port after its colon";
  return absl::StrCat("has the port \"", port, "\", which is not a number from 1 to 65535");
}

// Parses "alice@node1:2222". A word that ssh could take for an option is refused.
absl::StatusOr<ServerAddress> ParseSsh(absl::string_view text) {
  absl::string_view rest = absl::StripPrefix(text, "ssh://");
  ServerAddress address;
  const size_t colon = rest.rfind(':');
  if (colon != absl::string_view::npos && rest.back() != ']') {
    address.port = std::string(rest.substr(colon + 1));
    if (!IsPort(address.port)) return BadAddress(text, BadPort(address.port));
    rest = rest.substr(0, colon);
  }
  const bool good = std::all_of(rest.begin(), rest.end(), [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("-._@[]:%", c);
  });
  const absl::string_view host = rest.substr(rest.rfind('@') + 1);
  if (!good || host.empty() || rest[0] == '-' || rest[0] == '@' || host[0] == '-') {
    return BadAddress(text, "names no host, as ssh://node1 or ssh://alice@node1 does");
  }
  address.ssh = absl::StrReplaceAll(rest, {{"[", ""}, {"]", ""}});
  return address;
}

absl::Status OnlyANumber(absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat("the address \"", text,
                                                 "\" is only a number and names no host; write "
                                                 "127.0.0.1:",
                                                 text));
}

// Parses HOST[:PORT] or [IPV6][:PORT]. The error is the fault alone, which completes "the address".
absl::StatusOr<ServerAddress> ParseHostAndPort(absl::string_view text,
                                               absl::string_view default_port) {
  const auto bad = [](absl::string_view fault) { return absl::InvalidArgumentError(fault); };
  if (text.empty()) return bad("is empty");
  if (absl::StrContains(text, "://")) return bad("is a URL");
  absl::string_view host = text;
  absl::string_view port = default_port;
  const size_t colon = text.rfind(':');
  if (colon != absl::string_view::npos && text.back() != ']') {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  const bool bracketed = absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]");
  if (!bracketed && absl::StrContains(host, ':')) {
    return bad("has an IPv6 address without brackets around it");
  }
  if (!IsPort(port)) return bad(BadPort(port));
  if (host.empty()) return bad("names no host");
  const absl::string_view others = bracketed ? ":.%" : "-._";  // with a zone: fe80::1%eth0
  const bool good = std::all_of(host.begin(), host.end(), [others](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains(others, c);
  });
  if (!good) return bad("has a character that host names must not have");
  ServerAddress address;
  address.host = std::string(host);
  address.port = std::string(port);
  return address;
}

std::string HostAndPort(absl::string_view host, absl::string_view port) {
  const bool ipv6 = absl::StrContains(host, ':');
  return absl::StrCat(ipv6 ? "[" : "", host, ipv6 ? "]" : "", ":", port);
}

}  // namespace

absl::StatusOr<ServerAddress> ParseServerAddress(absl::string_view text,
                                                 absl::string_view default_port) {
  if (absl::StartsWith(text, "unix:") || absl::StartsWith(text, "/")) return ParseUnix(text);
  if (absl::StartsWith(text, "ssh://")) return ParseSsh(text);
  if (absl::StrContains(text, '/') && !absl::StrContains(text, "://")) {
    return BadAddress(text, "looks like a path, which must begin with unix: or /");
  }
  if (IsNumber(text)) return OnlyANumber(text);
  absl::StatusOr<ServerAddress> address = ParseHostAndPort(text, default_port);
  return address.ok() ? address : BadAddress(text, address.status().message());
}

absl::StatusOr<ServerAddress> ParseListenAddress(absl::string_view text,
                                                 absl::string_view default_port) {
  if (IsNumber(text)) return OnlyANumber(text);
  const bool is_path = absl::StartsWith(text, "unix:") || absl::StartsWith(text, "/");
  absl::StatusOr<ServerAddress> address =
      is_path ? absl::InvalidArgumentError("is a path") : ParseHostAndPort(text, default_port);
  if (address.ok()) return address;
  return absl::InvalidArgumentError(absl::StrCat(
      "the address \"", text, "\" ", address.status().message(),
      "; write HOST:PORT, such as 127.0.0.1:", default_port, " or [::1]:", default_port));
}

ServerAddress DefaultServerAddress(unsigned uid, absl::string_view xdg_runtime_dir,
                                   const std::function<bool(const std::string& path)>& may_exist) {
  ServerAddress address;
  address.path = kSystemSocket;
  if (uid == 0) return address;
  const std::string directory =
      xdg_runtime_dir.empty() ? absl::StrCat("/run/user/", uid) : std::string(xdg_runtime_dir);
  const std::string own = absl::StrCat(directory, "/vmeventd/vmeventd.sock");
  if (may_exist == nullptr || may_exist(own)) address.path = own;
  return address;
}

std::string ToText(const ServerAddress& address) {
  if (address.is_unix()) return absl::StrCat("unix:", EscapeForTerminal(address.path));
  if (address.is_ssh()) {
    return absl::StrCat("ssh://", EscapeForTerminal(address.ssh), address.port.empty() ? "" : ":",
                        address.port);
  }
  return HostAndPort(address.host, address.port);
}

std::string TlsOptionsOf(const ServerAddress& address) {
  if (!address.tls) return "";
  const std::pair<const char*, const std::string*> options[] = {
      {"--tls-ca", &address.tls->ca_file},
      {"--tls-cert", &address.tls->cert_file},
      {"--tls-key", &address.tls->key_file},
      {"--tls-server-name", &address.tls->server_name}};
  std::string text;
  for (const auto& [name, value] : options) {
    if (value->empty()) continue;
    absl::StrAppend(&text, " ", name, " ", QuoteForShell(*value));
  }
  return text;
}

std::string NodeName(const ServerAddress& address) {
  if (address.is_unix()) return absl::StrCat("unix:", address.path);
  if (address.is_ssh()) return ToText(address);
  const std::string text = HostAndPort(address.host, address.port);
  return std::string(absl::StripSuffix(text, absl::StrCat(":", kDefaultPort)));
}

std::string ToGrpcTarget(const ServerAddress& address) {
  // gRPC parses the target as a URI, so characters with a meaning there must be encoded.
  if (!address.is_unix()) {
    return absl::StrCat(
        "dns:///", absl::StrReplaceAll(HostAndPort(address.host, address.port), {{"%", "%25"}}));
  }
  std::string target = "unix:";
  for (const char c : address.path) {
    const bool harmless = absl::ascii_isalnum(c) || absl::StrContains("/-._~", c);
    absl::StrAppend(&target, harmless ? std::string(1, c)
                                      : absl::StrFormat("%%%02X", static_cast<unsigned char>(c)));
  }
  return target;
}

}  // namespace vmeventd::client
