#pragma once

#include <string>

namespace vmeventd::client {

// TLS options: paths of PEM files.
struct TlsOptions {
  std::string ca_file;      // the authorities that may issue a server's certificate
  std::string cert_file;    // the client's own certificate; empty: it presents none
  std::string key_file;     // key of the certificate; set if cert_file is
  std::string server_name;  // the name in the server's certificate; empty: the address's host

  bool operator==(const TlsOptions&) const = default;
};

}  // namespace vmeventd::client
