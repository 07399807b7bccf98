#pragma once

#include <memory>
#include <string>
#include <vector>

// An operator of NATS servers and an account with users, as NATS's own `nsc` makes them: Ed25519
// keys in NATS's encoding, and JSON web tokens signed by them.

namespace vmeventd::e2e {

// Permissions of a user. Empty lists: everything.
struct NatsPermissions {
  std::vector<std::string> publish;
  std::vector<std::string> subscribe;
};

class NatsKey;

class NatsOperator {
 public:
  NatsOperator();
  ~NatsOperator();

  // The operator and its account, which has JetStream, for the server's configuration.
  std::string Configuration() const;
  // The contents of a credentials file of a new user.
  std::string MakeCredentials(const std::string& name, const NatsPermissions& permissions) const;

 private:
  std::unique_ptr<NatsKey> operator_;
  std::unique_ptr<NatsKey> account_;
  std::unique_ptr<NatsKey> system_;  // the account of the servers themselves
};

}  // namespace vmeventd::e2e
