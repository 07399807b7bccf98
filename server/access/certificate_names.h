#ifndef VMEVENTD_SERVER_ACCESS_CERTIFICATE_NAMES_H_
#define VMEVENTD_SERVER_ACCESS_CERTIFICATE_NAMES_H_

#include <string>
#include <vector>

#include "base/openssl_ptr.h"
#include "server/access/operator_names.h"

namespace vmeventd {

// A subject alternative name of a client's certificate.
struct CertificateName {
  NameKind kind;
  std::string name;
};

// Those of the certificate; IP addresses in digits. The caller has verified it. Null: none.
std::vector<CertificateName> CertificateNamesOf(X509* certificate);

// As "URI spiffe://site/mover, DNS host", for people; "it has none".
std::string CertificateNamesText(const std::vector<CertificateName>& names);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_ACCESS_CERTIFICATE_NAMES_H_
