#pragma once

#include <string>

#include "client/connect/server_address.h"
#include "client/connect/tls_options.h"

namespace vmeventd::client {

// `web`, which serves a page.
struct WebCommand {
  ServerAddress listen;    // has a host and a port
  TlsOptions tls;          // cert_file empty: no TLS; ca_file empty: clients need no certificate
  std::string token_file;  // empty: clients need no token
};

}  // namespace vmeventd::client
