#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/openssl_ptr.h"

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
  std::shared_ptr<SSL_CTX> context;  // never null; for handshakes of any thread
  std::string subject;               // the certificate's, for people
  absl::Time not_before;
  absl::Time not_after;
};

// Reads and checks the files. INVALID_ARGUMENT or the error of reading names the flag, the file,
// the fault and the rule. A fault is also what would make OpenSSL refuse every client, such as a
// weak key. An expired certificate is no error: the daemon's other listeners still work.
absl::StatusOr<TlsMaterial> LoadTlsMaterial(const TlsPaths& paths);

}  // namespace vmeventd
