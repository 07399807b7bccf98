#pragma once

#include <string>

namespace vmeventd {

// The files of --tls-cert, --tls-key and --tls-client-ca. An empty client_ca: clients need no
// certificate.
struct TlsPaths {
  std::string cert;
  std::string key;
  std::string client_ca;
};

}  // namespace vmeventd
