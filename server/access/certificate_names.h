#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/openssl_ptr.h"

namespace vmeventd {

// The kinds of subject alternative names in a certificate.
enum class NameKind { kDns, kUri, kEmail, kIp };

// Kind of name that a --tls-operator is, by its form: an IP address, "scheme:…" a URI, "…@…" an
// email address, everything else a DNS name.
NameKind KindOfOperator(absl::string_view name);

// Returns whether a certificate's name of `kind` is this --tls-operator. The kinds must be the
// same, so that an authority that gives out names of one kind freely makes no operator of another.
// DNS names and domains of email addresses are the same in any case, IP addresses in any notation.
bool IsOperatorName(absl::string_view name_of_operator, NameKind kind, absl::string_view name);

struct CertificateName {
  NameKind kind;
  std::string name;
};

// Returns the names in the certificate, IP addresses in digits. The caller has verified it. Null:
// none.
std::vector<CertificateName> CertificateNamesOf(X509* certificate);

// Texts of each, as "URI spiffe://site/mover", without control characters.
std::vector<std::string> CertificateNameTexts(const std::vector<CertificateName>& names);

// Text for people: "URI spiffe://site/mover, DNS host", or "it has none".
std::string CertificateNamesText(const std::vector<CertificateName>& names);

}  // namespace vmeventd
