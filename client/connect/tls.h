#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/connect/server_address.h"

// TLS files, and the reason why TLS with a server fails, where gRPC reports only OpenSSL's error
// numbers. The caller must ignore SIGPIPE.

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

// The result of a TLS handshake with a server.
struct TlsFinding {
  enum class Kind {
    kNone,       // no fault was found
    kBadFiles,   // `detail` is the sentence of LoadTlsFiles()
    kNoTls,      // the server speaks something else
    kUntrusted,  // its certificate failed verification: `error` is an X509_V_ERR_*, `detail` has
                 // details
    kRefused,    // the server refuses the client: `error` is its TLS alert, or the
                 // likely one if it sent none
    kNotHttp2,   // TLS, but not gRPC's protocol inside it
    kSilent,     // it did not answer in time
    kClosed,     // it closed the connection
    kFailed,     // `detail` is OpenSSL's error
  };
  Kind kind = Kind::kNone;
  int error = 0;
  int depth = 0;  // for kUntrusted: 0: the server's own certificate; more: an authority's
  std::string detail;
};

// Returns one sentence without a full stop, safe for a terminal. Not for kNone. Pure.
std::string ExplainTls(const ServerAddress& address, const TlsFinding& finding);

// Does the client's handshake on a connected non-blocking socket, which stays open. Blocks for at
// most `timeout`. `address` must have TLS.
TlsFinding ProbeTls(int socket, const ServerAddress& address, absl::Duration timeout);

// Returns whether a server that was contacted without TLS speaks it. Blocks likewise.
bool SpeaksTls(int socket, absl::Duration timeout);

}  // namespace vmeventd::client
