#pragma once

#include <string>
#include <vector>

#include "tests/support/temporary_directory.h"

namespace vmeventd::e2e {

// Permissions of a user. An empty list permits everything.
struct NatsPermissions {
  std::vector<std::string> publish;
  std::vector<std::string> subscribe;
};

// An operator of NATS servers, and an account with users. Made by examples/fleet/nats_creds.py.
class NatsOperator {
 public:
  // Returns lines for the server's configuration: the operator and its account, which has
  // JetStream. Makes the keys; call it before MakeCredentials().
  std::string Configuration() const;
  // Returns the contents of a credentials file for a new user.
  std::string MakeCredentials(const std::string& name, const NatsPermissions& permissions) const;

 private:
  // Runs the script with these arguments, and returns its output.
  std::string Print(const std::vector<std::string>& arguments) const;

  const TemporaryDirectory keys_;
};

}  // namespace vmeventd::e2e
