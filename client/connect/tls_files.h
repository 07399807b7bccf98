#ifndef VMEVENTD_CLIENT_CONNECT_TLS_FILES_H_
#define VMEVENTD_CLIENT_CONNECT_TLS_FILES_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/connect/server_address.h"

namespace vmeventd::client {

// What the files of TlsOptions hold, in PEM.
struct TlsMaterial {
  std::string ca;
  std::string certificate;  // and those between it and its authority; empty: none
  std::string key;          // empty: none
};

// Reads the files and checks them: what gRPC would only call a failed handshake is found here.
// FAILED_PRECONDITION: a sentence, safe for a terminal, with the option, the file, what is wrong
// with it and the cure. That a certificate is in date and trusted is for the handshake to find.
absl::StatusOr<TlsMaterial> LoadTlsFiles(const TlsOptions& options);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_TLS_FILES_H_
