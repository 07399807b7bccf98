#include "server/config/config.h"

#include "server/config/tls_paths.h"

namespace vmeventd {

std::optional<TlsPaths> Config::tls() const {
  if (tls_cert.empty()) return std::nullopt;
  return TlsPaths{tls_cert, tls_key, tls_client_ca};
}

}  // namespace vmeventd
