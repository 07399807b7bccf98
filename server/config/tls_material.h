#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/config/tls_paths.h"

namespace vmeventd {

// The contents of the files, checked: a certificate, its key, the authorities for clients.
struct TlsMaterial {
  std::shared_ptr<SSL_CTX> context;  // never null; for handshakes of any thread
  std::string subject;               // the certificate's, for people
  absl::Time not_before;
  absl::Time not_after;
};

// Reads and checks the files, as long as their file system blocks. INVALID_ARGUMENT, or the error
// of reading, names the flag, the file, the fault and the rule. Faults include those that make
// OpenSSL refuse every client, such as a weak key. An expired certificate is no error: the daemon's
// other listeners still work.
absl::StatusOr<TlsMaterial> ReadTlsMaterial(const TlsPaths& paths);

// Like ReadTlsMaterial(), but waits for the file system for at most kFileSystemPatience, and then
// returns TlsFilesHang().
absl::StatusOr<TlsMaterial> LoadTlsMaterial(const TlsPaths& paths);

// DEADLINE_EXCEEDED: the files' file system does not answer.
absl::Status TlsFilesHang(const TlsPaths& paths);

}  // namespace vmeventd
