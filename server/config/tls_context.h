#ifndef VMEVENTD_SERVER_CONFIG_TLS_CONTEXT_H_
#define VMEVENTD_SERVER_CONFIG_TLS_CONTEXT_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "base/openssl_ptr.h"
#include "server/config/tls_paths.h"

namespace vmeventd {

// Context of the server's handshakes: HTTP/2 over TLS 1.2 or newer, with the certificates of
// `chain` (its own first) and its key. Where there are `authorities`, a client must show a
// certificate of one of them. Nothing is kept for later handshakes, and none is renewed. The error
// names the file that OpenSSL does not take, and why: it would refuse every client with it. What it
// returns may be used by any thread.
absl::StatusOr<std::shared_ptr<SSL_CTX>> MakeTlsContext(const TlsPaths& paths,
                                                        const std::vector<X509Ptr>& chain,
                                                        EVP_PKEY* key,
                                                        const std::vector<X509Ptr>& authorities);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_CONFIG_TLS_CONTEXT_H_
