#include "server/access/operator_names.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <array>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace vmeventd {
namespace {

// Its bytes, an IPv4 address in the first four.
using IpBytes = std::array<char, sizeof(in6_addr)>;
std::optional<IpBytes> ParseIp(absl::string_view text) {
  const std::string copy(text);
  IpBytes out{};
  if (inet_pton(AF_INET, copy.c_str(), out.data()) == 1) return out;
  if (inet_pton(AF_INET6, copy.c_str(), out.data()) == 1) return out;
  return std::nullopt;
}

bool HasScheme(absl::string_view text) {
  const size_t colon = text.find(':');
  if (colon == absl::string_view::npos || colon == 0 || !absl::ascii_isalpha(text[0])) return false;
  for (const char c : text.substr(0, colon)) {
    if (!absl::ascii_isalnum(c) && c != '+' && c != '-' && c != '.') return false;
  }
  return true;
}

bool SameEmail(absl::string_view a, absl::string_view b) {
  const size_t at = a.rfind('@');
  return at == b.rfind('@') && a.substr(0, at) == b.substr(0, at) &&
         absl::EqualsIgnoreCase(a.substr(at), b.substr(at));
}

}  // namespace

absl::string_view NameKindText(NameKind kind) {
  switch (kind) {
    case NameKind::kDns:
      return "DNS";
    case NameKind::kUri:
      return "URI";
    case NameKind::kEmail:
      return "email";
    case NameKind::kIp:
      return "IP";
  }
  return "";
}

NameKind KindOfOperator(absl::string_view name) {
  if (ParseIp(name).has_value()) return NameKind::kIp;
  if (HasScheme(name)) return NameKind::kUri;
  return absl::StrContains(name, "@") ? NameKind::kEmail : NameKind::kDns;
}

bool IsOperatorName(absl::string_view name_of_operator, NameKind kind, absl::string_view name) {
  if (KindOfOperator(name_of_operator) != kind) return false;
  switch (kind) {
    case NameKind::kDns:
      return absl::EqualsIgnoreCase(name_of_operator, name);
    case NameKind::kUri:
      return name_of_operator == name;
    case NameKind::kEmail:
      return absl::StrContains(name, "@") && SameEmail(name_of_operator, name);
    case NameKind::kIp:
      return ParseIp(name_of_operator) == ParseIp(name);
  }
  return false;
}

}  // namespace vmeventd
