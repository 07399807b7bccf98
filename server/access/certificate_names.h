#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/openssl_ptr.h"

// The names by which a certificate identifies its owner. Pure.

namespace vmeventd {

// Returns the names in the certificate that identify its owner: DNS names in lower case, and URIs,
// without control characters, as "DNS mover.example", "URI spiffe://site/mover". The caller has
// verified the certificate. Null `certificate`: no names.
std::vector<std::string> CertificateNamesOf(X509* certificate);
// Returns the name of a --tls-operator in the same form: a URI has a colon, a DNS name has none. So
// an authority that hands out names of one kind freely cannot create an operator of the other kind.
std::string OperatorName(absl::string_view name);

}  // namespace vmeventd
