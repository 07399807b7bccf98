#include "server/transport/grpc_server.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/thread_name.h"
#include "grpc/grpc.h"
#include "grpcpp/grpcpp.h"
#include "server/access/access_policy.h"
#include "server/access/refusals.h"
#include "server/rpc/reflection_service.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"
#include "watcher/core/health_services.h"

namespace vmeventd {
namespace {

// Limit beyond which a message is not read to its end. The service's own limit is lower, and
// counted.
constexpr int kMaxMessageBytes = 4 << 20;
// Limit of a call's decompressed headers, which gRPC stores for as long as the call lives. The
// relay permits 8 KiB; decompression can make 13 KiB of them, and gRPC adds 32 bytes for each
// field. Beyond its limit gRPC 1.51 closes the connection.
constexpr int kMaxMetadataBytes = 14 << 10;
// Time for clients to read what gRPC has sent, and to close, after its shutdown.
constexpr absl::Duration kFlushTime = absl::Milliseconds(200);
// Limit of one connection's calls in addition to its streams.
constexpr int kOtherCallsOfConnection = 100;
constexpr int kAcceptorNiceness = 10;

void SetOptions(const GrpcServerOptions& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  // A compressed request may become a thousand times larger, and gRPC 1.51 does not bound that.
  for (const auto algorithm : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
    builder->SetCompressionAlgorithmSupportStatus(algorithm, false);
  }
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                              options.calls.streams_of_peer + kOtherCallsOfConnection);
  // A connection that sends nothing, or makes no call, makes room for others.
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 300'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  // The probe would measure the bandwidth by pings, and ask for frames of more than 16 KiB.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
}

}  // namespace

GrpcServer::GrpcServer(GrpcServerOptions options, ServiceMethods* service,
                       RefusalCounters* refusals, const Clock* clock)
    : options_(std::move(options)),
      service_(service),
      refusals_(refusals),
      clock_(clock),
      clients_(options_.calls, refusals),
      gate_(&clients_, clock, refusals) {}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(GrpcServerOptions options,
                                                              ServiceMethods* service,
                                                              RefusalCounters* refusals,
                                                              const Clock* clock) {
  // The last server to be destroyed would shut down the library, which then waits up to 10 s for
  // its own poller (gRPC 1.51, the backup poller of tcp_posix.cc): longer than a stop may take. So
  // the library stays up until the process ends.
  [[maybe_unused]] static const bool initialized = (grpc_init(), true);
  std::unique_ptr<GrpcServer> out(new GrpcServer(std::move(options), service, refusals, clock));
  if (absl::Status status = out->Start(); !status.ok()) return status;
  return out;
}

absl::Status GrpcServer::Start() {
  ConnectionAcceptor::Options accepting;
  accepting.addresses = options_.addresses;
  accepting.tls = options_.tls;
  accepting.take = [this](int fd) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.fd = fd;
    connections_->HandleNewConnection(&connection);
  };
  accepting.max_connections = options_.max_connections;
  accepting.relay = options_.relay;
  accepting.arrivals = options_.arrivals;
  accepting.tick = [this] {
    gate_.EndOverdue();
    service_->CheckDeadlines();
  };
  accepting.listening = [this] {
    if (acceptor_ != nullptr) ReportListening();
  };
  absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> acceptor =
      ConnectionAcceptor::Create(std::move(accepting), clock_, &clients_, refusals_);
  if (!acceptor.ok()) return acceptor.status();
  acceptor_ = *std::move(acceptor);

  std::vector<ListenAddress> addresses;
  for (const ListenerState& listener : listeners()) addresses.push_back(listener.address);
  policy_ = std::make_unique<AccessPolicy>(std::move(addresses), options_.operators,
                                           options_.list_rate, clock_, refusals_);
  service_->AddTo(&methods_, policy_.get(), [this] {
    std::vector<v1::Listener> out;
    for (const ListenerState& state : listeners()) {
      out.emplace_back().set_address(state.address.ToString());
      out.back().set_listening(state.listening);
    }
    return out;
  });
  health_.AddTo(&methods_);
  AddReflectionTo(&methods_);

  grpc::ServerBuilder builder;
  SetOptions(options_, &builder);
  connections_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  builder.RegisterCallbackGenericService(&methods_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) {
    return absl::InternalError("gRPC cannot start a server; the log above has the reason");
  }

  health_.Report(options_.health);
  ReportListening();
  relay_thread_ = std::thread([this] {
    SetThreadName("relay");
    acceptor_->RunRelay();
  });
  acceptor_thread_ = std::thread([this] {
    SetThreadName("acceptor");
    // Lowers the thread's priority, because strangers cause its work. Linux has one for each
    // thread; lowering never fails.
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + kAcceptorNiceness);
    acceptor_->RunAccepting();
  });
  return absl::OkStatus();
}

void GrpcServer::ReportListening() {
  const std::vector<ListenerState> all = listeners();
  const bool serves = std::all_of(all.begin(), all.end(),
                                  [](const ListenerState& listener) { return listener.listening; });
  health_.Report({{kListenService, serves}});
}

void GrpcServer::Shutdown(absl::Duration timeout) {
  if (acceptor_ != nullptr) acceptor_->StopAccepting();
  health_.Drain();
  gate_.Drain();
  clients_.WaitUntilNoCalls(timeout);
  // Ends connections before gRPC: a call that arrives during gRPC's shutdown, or is open after its
  // deadline, gets CANCELLED, which clients do not take for the end of the daemon.
  if (relay_thread_.joinable()) {
    acceptor_->Stop(kFlushTime);
    acceptor_thread_.join();
    relay_thread_.join();
  }
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + absl::ToChronoMicroseconds(kFlushTime));
}

GrpcServer::~GrpcServer() { Shutdown(absl::ZeroDuration()); }

}  // namespace vmeventd
