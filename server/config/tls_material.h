#ifndef VMEVENTD_SERVER_CONFIG_TLS_MATERIAL_H_
#define VMEVENTD_SERVER_CONFIG_TLS_MATERIAL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace vmeventd {

// What --tls-cert, --tls-key and --tls-client-ca name; client_ca may be empty: clients need no
// certificate then.
struct TlsPaths {
  std::string cert;
  std::string key;
  std::string client_ca;
};

// What they hold, checked: a certificate, the key that belongs to it, authorities for clients.
struct TlsMaterial {
  std::string cert;  // PEM, as are the others; with the chain
  std::string key;
  std::string client_ca;
  std::string subject;  // of the certificate, for people
  absl::Time not_before;
  absl::Time not_after;
};

// INVALID_ARGUMENT, or the error of reading: names the flag, the file, what is wrong with it and
// what would be right. An expired certificate is no error: the daemon's other listeners still work.
absl::StatusOr<TlsMaterial> LoadTlsMaterial(const TlsPaths& paths);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_CONFIG_TLS_MATERIAL_H_
