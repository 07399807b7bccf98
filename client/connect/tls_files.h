#pragma once

#include "absl/status/statusor.h"
#include "base/openssl_ptr.h"
#include "client/connect/tls_options.h"

namespace vmeventd::client {

// Checks the files and returns a client's context with them. This finds faults that gRPC reports
// only as a failed handshake. FAILED_PRECONDITION: a sentence, safe for a terminal, with the
// option, the file, the fault and the fix. Does not check validity dates or trust; the handshake
// does.
absl::StatusOr<SslContextPtr> LoadTlsFiles(const TlsOptions& options);

}  // namespace vmeventd::client
