#include "server/grpc_server.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/generated_message_reflection.h"
#include "grpc/grpc.h"
#include "grpc/health/v1/health.pb.h"
#include "grpcpp/ext/channelz_service_plugin.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "server/call_guard.h"
#include "server/listen_socket.h"
#include "server/tls_credentials.h"
#include "server/vm_event_service.h"

namespace vmeventd {
namespace {

// The service's own limit is lower, and counted; this one is for what need not be read to its end.
constexpr int kMaxMessageBytes = 4 << 20;
constexpr double kListBurstSeconds = 5;  // so many seconds of the rate may come at once
constexpr size_t kMaxListPeers = 1'024;
// Of one connection, beside its streams.
constexpr int kMaxOtherCalls = 100;

void SetUpLibrary() {
  static const bool done = [] {
    // The last server that goes would shut down the library with it, and that waits up to 10 s for
    // a poller of its own (gRPC 1.51, the backup poller of tcp_posix.cc): longer than a stop may
    // take. So the library stays up until the process ends.
    grpc_init();
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    // gRPC's own health service brings no description that reflection could tell.
    google::protobuf::LinkMessageReflection<grpc::health::v1::HealthCheckRequest>();
    grpc::channelz::experimental::InitChannelzService();
    return true;
  }();
  static_cast<void>(done);
}

void SetOptions(const GrpcServerOptions& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                              options.max_streams_per_peer + kMaxOtherCalls);
  // A connection that never says anything, or never asks anything, makes room for others.
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 300'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  // Channelz is served by threads of the synchronous kind: few, and not woken for nothing.
  builder->SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::CQ_TIMEOUT_MSEC, 3'600'000);
}

}  // namespace

struct GrpcServer::Listener {
  ListenAddress address;                 // with the port that the kernel chose
  std::unique_ptr<ListenSocket> socket;  // null after Shutdown
  std::unique_ptr<CallGuard> guard;
  std::unique_ptr<VmEventServiceImpl> service;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> connections;
  std::unique_ptr<grpc::Server> server;  // first to go: it uses the others
};

GrpcServer::GrpcServer(GrpcServerOptions options, RpcBackend* backend, const Clock* clock)
    : options_(std::move(options)),
      backend_(backend),
      clock_(clock),
      list_rate_(options_.list_rate, options_.list_rate * kListBurstSeconds, kMaxListPeers) {}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(GrpcServerOptions options,
                                                              RpcBackend* backend,
                                                              const Clock* clock) {
  SetUpLibrary();
  std::unique_ptr<GrpcServer> out(new GrpcServer(std::move(options), backend, clock));
  for (const ListenAddress& address : out->options_.addresses) {
    if (absl::Status status = out->StartListener(address); !status.ok()) return status;
  }
  std::vector<ConnectionAcceptor::Listener> sockets;
  for (const std::unique_ptr<Listener>& listener : out->listeners_) {
    sockets.push_back(
        {listener->socket->fd(), listener->address.ToString(),
         [connections = listener->connections.get()](int fd) {
           grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
           connection.fd = fd;
           connections->HandleNewConnection(&connection);
         }});
  }
  out->acceptor_ = std::make_unique<ConnectionAcceptor>(
      std::move(sockets), out->options_.max_connections, clock, backend->refusals());
  out->SetServing(false);
  out->SetJournalServing(true);
  out->acceptor_thread_ = std::thread([acceptor = out->acceptor_.get()] { acceptor->Run(); });
  return out;
}

absl::Status GrpcServer::StartListener(const ListenAddress& address) {
  auto listener = std::make_unique<Listener>();
  absl::StatusOr<std::unique_ptr<ListenSocket>> socket = ListenSocket::Open(address);
  if (!socket.ok()) return socket.status();
  listener->socket = *std::move(socket);
  listener->address = listener->socket->address();
  listener->guard = std::make_unique<CallGuard>(listener->address, options_.operators, &list_rate_,
                                                clock_, backend_->refusals());
  listener->service = std::make_unique<VmEventServiceImpl>(backend_, listener->guard.get());

  grpc::ServerBuilder builder;
  SetOptions(options_, &builder);
  const bool plain = address.is_unix() || options_.tls == nullptr;
  listener->connections = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      plain ? grpc::InsecureServerCredentials() : TlsServerCredentials(options_.tls));
  builder.RegisterService(listener->service.get());
  listener->server = builder.BuildAndStart();
  if (listener->server == nullptr) {
    return absl::InternalError(absl::StrCat(
        address.ToString(), ": gRPC cannot start a server here; the log above has the reason"));
  }
  listeners_.push_back(std::move(listener));
  return absl::OkStatus();
}

std::vector<ListenAddress> GrpcServer::addresses() const {
  std::vector<ListenAddress> out;
  for (const auto& listener : listeners_) out.push_back(listener->address);
  return out;
}

void GrpcServer::SetStatus(const std::string& service, bool serving) {
  for (const auto& listener : listeners_) {
    listener->server->GetHealthCheckService()->SetServingStatus(service, serving);
  }
}

void GrpcServer::SetServing(bool serving) {
  SetStatus("", serving);
  SetStatus(v1::VmEventService::service_full_name(), serving);
}

void GrpcServer::SetJournalServing(bool serving) { SetStatus("journal", serving); }

void GrpcServer::Shutdown(absl::Duration timeout) {
  if (acceptor_thread_.joinable()) {
    acceptor_->Stop();
    acceptor_thread_.join();
  }
  const auto deadline = std::chrono::system_clock::now() + absl::ToChronoMicroseconds(timeout);
  for (const auto& listener : listeners_) listener->socket.reset();
  for (const auto& listener : listeners_) listener->server->Shutdown(deadline);
}

GrpcServer::~GrpcServer() { Shutdown(absl::ZeroDuration()); }

}  // namespace vmeventd
