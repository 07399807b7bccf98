#include "client/connect/connection.h"

#include <chrono>

#include "client/connect/node_pin.h"
#include "client/connect/tls_files.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace vmeventd::client {
namespace {

constexpr std::chrono::seconds kConnectTimeout(5);

// Connects. False: the first attempt failed.
bool Connects(grpc::Channel* channel) {
  const auto deadline = std::chrono::system_clock::now() + kConnectTimeout;
  while (true) {
    const grpc_connectivity_state state = channel->GetState(/*try_to_connect=*/true);
    if (state == GRPC_CHANNEL_READY) return true;
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE || state == GRPC_CHANNEL_SHUTDOWN) return false;
    if (!channel->WaitForStateChange(state, deadline)) return false;
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const ServerAddress& address) {
  grpc::ChannelArguments arguments;
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (address.tls) {
    const absl::StatusOr<TlsMaterial> material = LoadTlsFiles(*address.tls);
    if (!material.ok()) return material.status();
    credentials = grpc::SslCredentials({material->ca, material->key, material->certificate});
    // The certificate must match the host that the user named, whichever address is used.
    const std::string& name =
        address.tls->server_name.empty() ? address.host : address.tls->server_name;
    if (name != address.host || !address.numeric.empty()) arguments.SetSslTargetNameOverride(name);
  }
  // A page of events with their evidence may be larger than gRPC's default of 4 MiB.
  arguments.SetMaxReceiveMessageSize(-1);
  // Each attempt uses its own connection, so that gRPC's backoff does not add to the caller's.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);  // in effect, the connect timeout
  // The daemon is local to a node: ignore proxies that the environment sets for the web.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return grpc::CreateCustomChannel(ToGrpcTarget(address), credentials, arguments);
}

absl::StatusOr<PinnedChannel> ConnectToOne(const ServerAddress& address, const Resolver& resolve) {
  NodePin pin(address, resolve);
  while (true) {
    const absl::StatusOr<ServerAddress> next = pin.Next();
    // If the name is unknown, the first request reports it.
    PinnedChannel out{next.ok() ? *next : address, nullptr, pin.is_ambiguous()};
    absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = Connect(out.address);
    if (!channel.ok()) return channel.status();
    out.channel = *std::move(channel);
    if (!pin.has_more() || Connects(out.channel.get())) return out;
  }
}

void SetRequestDeadline(grpc::ClientContext* context, absl::Duration timeout) {
  context->set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(timeout));
}

}  // namespace vmeventd::client
