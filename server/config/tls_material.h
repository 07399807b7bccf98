#ifndef VMEVENTD_SERVER_CONFIG_TLS_MATERIAL_H_
#define VMEVENTD_SERVER_CONFIG_TLS_MATERIAL_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/openssl_ptr.h"
#include "server/config/tls_paths.h"

namespace vmeventd {

// The contents of those files, checked: a certificate, its key, the authorities for clients.
struct TlsMaterial {
  std::shared_ptr<SSL_CTX> context;  // never null; for handshakes of any thread
  std::string subject;               // of the certificate, for people
  absl::Time not_before;
  absl::Time not_after;
};

// Reads and checks the files. INVALID_ARGUMENT or the error of reading names the flag, the file,
// the fault and the rule: also of what OpenSSL would refuse every client with, as a weak key. An
// expired certificate is no error: the daemon's other listeners still work.
absl::StatusOr<TlsMaterial> LoadTlsMaterial(const TlsPaths& paths);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_CONFIG_TLS_MATERIAL_H_
