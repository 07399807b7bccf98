#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/connect/server_address.h"

// The configuration file of vmevents: named servers with their TLS files. Pure.
//
//   current = "prod"
//
//   [contexts.prod]
//   servers = ["node1", "node2:9555"]
//   tls-ca = "ca.pem"                # relative to the file's directory
//   tls-cert = "me.pem"
//   tls-key = "me.key"
//   tls-server-name = "vmeventd"
//
//   [contexts.fleet]
//   servers = "tls://nats1,nats2"
//   credentials = "ops.creds"        # relative, too

namespace vmeventd::client {

struct Context {
  std::string name;
  std::vector<std::string> servers;  // form of --server; at least one
  TlsOptions tls;                    // all empty: none
  std::string credentials;           // a file, for the NATS servers of a fleet; empty: none
  std::string nats_domain;           // domain of their JetStream; empty: their own
};

struct Contexts {
  std::string current;  // empty: none
  std::vector<Context> list;

  const Context* Find(const std::string& name) const;
};

// $VMEVENTS_CONFIG, else vmevents/config.toml in $XDG_CONFIG_HOME or in $HOME/.config. Empty: there
// is no such place.
std::string ConfigPath(const std::string& own, const std::string& xdg_config_home,
                       const std::string& home);

// Parses the content of the file at `path`. INVALID_ARGUMENT names the file, the fault and the
// correct form.
absl::StatusOr<Contexts> ParseContexts(const std::string& content, const std::string& path);

}  // namespace vmeventd::client
