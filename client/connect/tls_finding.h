#ifndef VMEVENTD_CLIENT_CONNECT_TLS_FINDING_H_
#define VMEVENTD_CLIENT_CONNECT_TLS_FINDING_H_

#include <string>

#include "client/connect/server_address.h"

namespace vmeventd::client {

// What a handshake with a server found.
struct TlsFinding {
  enum class Kind {
    kNone,       // it worked, as far as can be seen
    kBadFiles,   // `detail` is the sentence of LoadTlsFiles()
    kNoTls,      // the server speaks something else
    kUntrusted,  // its certificate does not pass: `error` is an X509_V_ERR_*, `detail` says more
    kRefused,    // the server refuses the client: `error` is the number of its TLS alert, or of
                 // the likely one where it says nothing
    kNotHttp2,   // TLS, but not gRPC's protocol within
    kSilent,     // it did not answer in time
    kClosed,     // it closed the connection
    kFailed,     // `detail` is OpenSSL's word
  };
  Kind kind = Kind::kNone;
  int error = 0;
  int depth = 0;  // with kUntrusted: 0 is the server's own certificate, more an authority's
  std::string detail;
};

// One sentence without a full stop, safe for a terminal. Not for kNone. Pure.
std::string ExplainTls(const ServerAddress& address, const TlsFinding& finding);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_TLS_FINDING_H_
