#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/connect/tls_options.h"

namespace vmeventd::client {

// The servers, and how to log in to them.
struct Access {
  std::vector<std::string> servers;  // each in the form of --server; empty: the default address
  TlsOptions tls;                    // all empty: none
  std::string credentials;  // credentials file for the NATS servers of a fleet; empty: none
  std::string nats_domain;  // domain of the servers' JetStream; empty: their own
};
// The options for Access. For each of them there is an environment variable, such as
// VMEVENTS_TLS_CA, and a setting of a context, with the same name.
inline constexpr absl::string_view kAccessOptions[] = {
    "--server",          "--tls-ca",      "--tls-cert",   "--tls-key",
    "--tls-server-name", "--credentials", "--nats-domain"};

}  // namespace vmeventd::client
