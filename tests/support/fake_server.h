#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "client/connect/server_address.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "tests/support/fake_service.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd::client {

// A FakeService on a Unix socket, which can be stopped and restarted, with gRPC's health service.
class FakeServer {
 public:
  // `socket_name` may contain any character that a file name can.
  explicit FakeServer(const std::string& socket_name = "fake.sock");
  ~FakeServer();

  // From the next Start() on, listens on `host`, always on the same port. Port "0": chooses a port
  // that no one else has or gets on 127.0.0.1 to 127.0.0.3 during the lifetime of this object, even
  // while the server is stopped.
  void UseTcp(std::shared_ptr<grpc::ServerCredentials> credentials,
              const std::string& host = "127.0.0.1", const std::string& port = "0");
  void Start();
  void Stop();
  void SetServing(bool serving, const std::string& service = "");
  const ServerAddress& address() const { return address_; }
  FakeService& service() { return service_; }

 private:
  TemporaryDirectory directory_;
  ServerAddress address_;
  FakeService service_;
  std::shared_ptr<grpc::ServerCredentials> credentials_;
  std::vector<UniqueFd> held_port_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace vmeventd::client
