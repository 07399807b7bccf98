#include "server/access/certificate_names.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/x509v3.h>

#include <array>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/text.h"

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

std::string TextOf(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<size_t>(ASN1_STRING_length(text))};
}

std::optional<CertificateName> NameOf(const GENERAL_NAME& name) {
  switch (name.type) {
    case GEN_DNS:
      return CertificateName{NameKind::kDns, TextOf(name.d.dNSName)};
    case GEN_URI:
      return CertificateName{NameKind::kUri, TextOf(name.d.uniformResourceIdentifier)};
    case GEN_EMAIL:
      return CertificateName{NameKind::kEmail, TextOf(name.d.rfc822Name)};
    case GEN_IPADD: {
      const std::string bytes = TextOf(name.d.iPAddress);
      if (bytes.size() != 4 && bytes.size() != 16) return std::nullopt;
      char text[INET6_ADDRSTRLEN] = {};
      inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), text, sizeof(text));
      return CertificateName{NameKind::kIp, text};
    }
    default:
      return std::nullopt;
  }
}

}  // namespace

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

std::vector<CertificateName> CertificateNamesOf(X509* certificate) {
  std::vector<CertificateName> out;
  if (certificate == nullptr) return out;
  const GeneralNamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    std::optional<CertificateName> name = NameOf(*sk_GENERAL_NAME_value(names.get(), i));
    if (name.has_value()) out.push_back(*std::move(name));
  }
  return out;
}

std::vector<std::string> CertificateNameTexts(const std::vector<CertificateName>& names) {
  constexpr const char* kKinds[] = {"DNS", "URI", "email", "IP"};
  std::vector<std::string> out;
  for (const CertificateName& name : names) {
    out.push_back(
        absl::StrCat(kKinds[static_cast<size_t>(name.kind)], " ", absl::CHexEscape(name.name)));
  }
  return out;
}

std::string CertificateNamesText(const std::vector<CertificateName>& names) {
  return names.empty() ? "it has none"
                       : absl::StrCat("\"", absl::StrJoin(CertificateNameTexts(names), ", "), "\"");
}

}  // namespace vmeventd
