#include "client/connect/connection.h"

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "base/unix_address.h"
#include "client/connect/ssh.h"
#include "client/connect/tls_files.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/create_channel_posix.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMaxFileBytes = 4 << 20;  // a distribution's authorities take 250 KiB

// A page waits while the server limits the rate of pages, for 1.5 s at most.
constexpr char kServiceConfig[] = R"({"methodConfig": [{
    "name": [{"service": "vmeventd.v1.VmEventService", "method": "ListEvents"},
             {"service": "vmeventd.v1.VmEventService", "method": "CountEvents"},
             {"service": "vmeventd.v1.VmEventService", "method": "ListVms"}],
    "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "1s",
                    "backoffMultiplier": 2, "retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}}]})";

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const ServerAddress& address) {
  grpc::ChannelArguments arguments;
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (address.tls) {
    const auto checked = LoadTlsFiles(*address.tls);
    if (!checked.ok()) return checked.status();
    grpc::SslCredentialsOptions options;
    for (const auto& [path, text] : {std::pair(&address.tls->ca_file, &options.pem_root_certs),
                                     std::pair(&address.tls->cert_file, &options.pem_cert_chain),
                                     std::pair(&address.tls->key_file, &options.pem_private_key)}) {
      if (path->empty()) continue;
      auto read = ReadSmallFile(*path, kMaxFileBytes);
      if (!read.ok()) return absl::FailedPreconditionError(read.status().message());
      *text = *std::move(read);
    }
    credentials = grpc::SslCredentials(options);
    const std::string& name = address.tls_name();
    if (name != address.host) arguments.SetSslTargetNameOverride(name);
  }
  // A page of events with their evidence may be larger than gRPC's default of 4 MiB.
  arguments.SetMaxReceiveMessageSize(-1);
  // Each attempt uses its own connection, so that gRPC's backoff does not add to the caller's.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);  // the connect timeout, in effect
  // The daemon is local to a node: ignore proxies that the environment sets for the web.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetServiceConfigJSON(kServiceConfig);
  if (address.is_ssh()) {
    absl::StatusOr<UniqueFd> socket = StartSsh(address);
    if (!socket.ok()) return socket.status();
    return grpc::CreateCustomInsecureChannelFromFd("ssh", socket->Release(), arguments);
  }
  if (!address.is_unix()) {
    return grpc::CreateCustomChannel(ToGrpcTarget(address), credentials, arguments);
  }
  absl::StatusOr<UnixAddress> opened = UnixAddress::Open(address.path);
  if (!opened.ok()) return absl::UnavailableError(opened.status().message());
  ServerAddress reached = address;
  reached.path = opened->text();
  // gRPC connects whenever it needs to: the address lives as long as the channel.
  struct Owner {
    UnixAddress address;
    std::shared_ptr<grpc::Channel> channel;
  };
  const auto owner = std::make_shared<Owner>(
      Owner{*std::move(opened),
            grpc::CreateCustomChannel(ToGrpcTarget(reached), credentials, arguments)});
  return std::shared_ptr<grpc::Channel>(owner, owner->channel.get());
}

void SetRequestDeadline(grpc::ClientContext* context, absl::Duration timeout) {
  context->set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(timeout));
}

}  // namespace vmeventd::client
