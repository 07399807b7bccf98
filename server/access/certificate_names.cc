#include "server/access/certificate_names.h"

#include <arpa/inet.h>
#include <openssl/x509v3.h>

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/quote.h"

namespace vmeventd {
namespace {

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

std::string CertificateNamesText(const std::vector<CertificateName>& names) {
  const auto append = [](std::string* out, const CertificateName& name) {
    absl::StrAppend(out, NameKindText(name.kind), " ", name.name);
  };
  return names.empty() ? "it has none" : Quote(absl::StrJoin(names, ", ", append));
}

}  // namespace vmeventd
