#ifndef VMEVENTD_SERVER_CONFIG_TLS_MATERIAL_H_
#define VMEVENTD_SERVER_CONFIG_TLS_MATERIAL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace vmeventd {

// The files of --tls-cert, --tls-key and --tls-client-ca. An empty client_ca: clients need no
// certificate.
struct TlsPaths {
  std::string cert;
  std::string key;
  std::string client_ca;
};

// The contents of those files, checked: a certificate, its key, the authorities for clients.
struct TlsMaterial {
  std::string cert;  // PEM, as are the others; with the chain
  std::string key;
  std::string client_ca;
  std::string subject;  // of the certificate, for people
  absl::Time not_before;
  absl::Time not_after;
};

// Reads and checks the files. INVALID_ARGUMENT or the error of reading names the flag, the file,
// the fault and the rule. An expired certificate is no error: the daemon's other listeners still
// work.
absl::StatusOr<TlsMaterial> LoadTlsMaterial(const TlsPaths& paths);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_CONFIG_TLS_MATERIAL_H_
