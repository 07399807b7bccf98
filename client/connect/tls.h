#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/connect/server_address.h"

// TLS files.

namespace vmeventd::client {

// The contents of the files of TlsOptions, in PEM.
struct TlsMaterial {
  std::string ca;
  std::string certificate;  // includes its intermediates; empty: none
  std::string key;          // empty: none
};

// Reads and checks the files, so that faults which gRPC reports only as a failed handshake are
// found here. FAILED_PRECONDITION: a sentence, safe for a terminal, with the option, the file, the
// fault and the cure. Does not check validity dates or trust; the handshake does.
absl::StatusOr<TlsMaterial> LoadTlsFiles(const TlsOptions& options);

}  // namespace vmeventd::client
