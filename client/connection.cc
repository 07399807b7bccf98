#include "client/connection.h"

#include <chrono>

#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace vmeventd::client {

std::unique_ptr<v1::VmEventService::Stub> Connect(const ServerAddress& address) {
  grpc::ChannelArguments arguments;
  // A page of events with their evidence may be larger than gRPC's default of 4 MiB.
  arguments.SetMaxReceiveMessageSize(-1);
  // Each attempt is a connection of its own, so that gRPC's backoff does not add to the caller's.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);  // the time to connect, in truth
  // The daemon is a node's own: a proxy of the environment is for the web.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return v1::VmEventService::NewStub(grpc::CreateCustomChannel(
      ToGrpcTarget(address), grpc::InsecureChannelCredentials(), arguments));
}

void SetRequestDeadline(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() +
                        absl::ToChronoNanoseconds(kRequestTimeout));
}

}  // namespace vmeventd::client
