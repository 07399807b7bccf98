#include "tests/support/fake_server.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

// A socket that is bound to the port and does not listen: connections to it are refused, and the
// kernel gives the port to no other socket that asks for any. Invalid: the port is taken.
UniqueFd BindLoopback(uint32_t address, uint16_t* port) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int one = 1;  // a server may listen on it
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(address);
  name.sin_port = htons(*port);
  socklen_t size = sizeof(name);
  auto* const generic = reinterpret_cast<sockaddr*>(&name);
  if (bind(fd.get(), generic, size) != 0 || getsockname(fd.get(), generic, &size) != 0) {
    return UniqueFd();
  }
  *port = ntohs(name.sin_port);
  return fd;
}

// The port that is held on 127.0.0.1, 127.0.0.2 and 127.0.0.3.
std::string HoldPort(std::vector<UniqueFd>* held) {
  while (true) {
    held->clear();
    uint16_t port = 0;
    for (uint32_t host = 0; host < 3; ++host) {
      UniqueFd fd = BindLoopback(INADDR_LOOPBACK + host, &port);
      if (fd.valid()) held->push_back(std::move(fd));
    }
    if (held->size() == 3) return std::to_string(port);
  }
}

}  // namespace

FakeServer::FakeServer(const std::string& socket_name)
    : credentials_(grpc::InsecureServerCredentials()) {
  address_.path = absl::StrCat(directory_.path(), "/", socket_name);
}

FakeServer::~FakeServer() { Stop(); }

void FakeServer::Start() {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  int port = 0;
  builder.AddListeningPort(ToGrpcTarget(address_), credentials_, &port);
  builder.RegisterService(&service_);
  server_ = builder.BuildAndStart();
  ASSERT_NE(server_, nullptr);
  if (!address_.is_unix()) address_.port = std::to_string(port);
}

void FakeServer::UseTcp(std::shared_ptr<grpc::ServerCredentials> credentials,
                        const std::string& host, const std::string& port) {
  credentials_ = std::move(credentials);
  if (!address_.is_unix()) return;
  address_.path.clear();
  address_.host = host;
  address_.port = port == "0" ? HoldPort(&held_port_) : port;
}

void FakeServer::SetServing(bool serving, const std::string& service) {
  server_->GetHealthCheckService()->SetServingStatus(service, serving);
}

void FakeServer::Stop() {
  if (server_ == nullptr) return;
  service_.Release();
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

}  // namespace vmeventd::client
