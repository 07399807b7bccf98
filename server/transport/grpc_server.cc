#include "server/transport/grpc_server.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/system.h"
#include "grpc/grpc.h"
#include "grpcpp/grpcpp.h"
#include "server/access/access.h"
#include "server/transport/listen_socket.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd {
namespace {

// Limit beyond which a message is not read to its end. The service's own limit is lower, and
// counted.
constexpr int kMaxMessageBytes = 4 << 20;
// Limit of a call's decompressed headers, which gRPC stores for as long as the call lives. Of the 8
// KiB that the relay permits decompression makes up to 1.6 times as many, and gRPC counts 32 more
// for each field. Beyond its limit gRPC 1.51 closes the connection.
constexpr int kMaxMetadataBytes = 14 << 10;
constexpr double kListBurstSeconds = 5;  // seconds of the rate that may come at once
constexpr size_t kMaxListPeers = 1'024;
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

struct GrpcServer::Listener {
  std::unique_ptr<AccessPolicy> policy;
  std::unique_ptr<CallService> methods;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> connections;
  std::unique_ptr<grpc::Server> server;  // destroyed first: it uses the others
};

GrpcServer::GrpcServer(GrpcServerOptions options, VmEventService* service,
                       RefusalCounters* refusals, const Clock* clock)
    : options_(std::move(options)),
      service_(service),
      refusals_(refusals),
      clock_(clock),
      list_rate_(options_.list_rate, options_.list_rate * kListBurstSeconds, kMaxListPeers),
      clients_(options_.calls, refusals),
      gate_(&clients_, clock, refusals),
      // A channel without credentials leads nowhere: each call fails at once, and gRPC reports that
      // where it reports everything else.
      nowhere_(grpc::CreateChannel("", nullptr)) {}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(GrpcServerOptions options,
                                                              VmEventService* service,
                                                              RefusalCounters* refusals,
                                                              const Clock* clock) {
  // The last server that goes would shut down the library with it, and that waits up to 10 s for a
  // poller of its own (gRPC 1.51, the backup poller of tcp_posix.cc): longer than a stop may take.
  // So the library stays up until the process ends.
  [[maybe_unused]] static const bool initialized = (grpc_init(), true);
  std::unique_ptr<GrpcServer> out(new GrpcServer(std::move(options), service, refusals, clock));
  if (absl::Status status = out->StartAcceptor(); !status.ok()) return status;
  for (const ListenerState& listener : out->listeners()) {
    if (absl::Status status = out->StartListener(listener.address); !status.ok()) return status;
  }
  out->SetServing(false);
  out->health_.Set("journal", true);
  out->health_.Set("watch", true);
  out->health_.Set("sources", false);
  out->health_.Set("libvirt", true);
  out->ShowListening();
  service->SetListeners([server = out.get()] {
    std::vector<v1::Listener> listeners;
    for (const ListenerState& state : server->listeners()) {
      listeners.emplace_back().set_address(state.address.ToString());
      listeners.back().set_listening(state.listening);
    }
    return listeners;
  });
  out->relay_thread_ = std::thread([acceptor = out->acceptor_.get()] {
    SetThreadName("relay");
    acceptor->RunRelay();
  });
  out->acceptor_thread_ = std::thread([acceptor = out->acceptor_.get()] {
    SetThreadName("acceptor");
    // Lowers the thread's priority, because strangers cause its work. Linux has one for each
    // thread; lowering never fails.
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + kAcceptorNiceness);
    acceptor->RunAccepting();
  });
  return out;
}

absl::Status GrpcServer::StartAcceptor() {
  ConnectionAcceptor::Options options;
  options.max_connections = options_.max_connections;
  options.relay = options_.relay;
  options.arrivals = options_.arrivals;
  options.tick = [this] {
    gate_.EndOverdue();
    service_->CheckDeadlines();
  };
  options.listening = [this] {
    if (acceptor_ != nullptr) ShowListening();
  };
  for (size_t i = 0; i < options_.addresses.size(); ++i) {
    const auto take = [this, i](int fd) {
      grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
      connection.fd = fd;
      listeners_[i]->connections->HandleNewConnection(&connection);
    };
    const ListenAddress& address = options_.addresses[i];
    options.listeners.push_back({address, take, address.is_unix() ? nullptr : options_.tls});
  }
  absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> acceptor =
      ConnectionAcceptor::Create(std::move(options), clock_, &clients_, refusals_);
  if (!acceptor.ok()) return acceptor.status();
  acceptor_ = *std::move(acceptor);
  return absl::OkStatus();
}

absl::Status GrpcServer::StartListener(const ListenAddress& address) {
  auto listener = std::make_unique<Listener>();
  listener->policy = std::make_unique<AccessPolicy>(address, options_.operators, &clients_,
                                                    &list_rate_, clock_, refusals_);
  listener->methods = std::make_unique<CallService>(&gate_);
  service_->AddTo(listener->methods.get(), listener->policy.get());
  health_.AddTo(listener->methods.get());
  reflection_.AddTo(listener->methods.get());

  grpc::ServerBuilder builder;
  SetOptions(options_, &builder);
  listener->connections = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  builder.RegisterCallbackGenericService(listener->methods.get());
  listener->server = builder.BuildAndStart();
  if (listener->server == nullptr) {
    return absl::InternalError(absl::StrCat(
        address.ToString(), ": gRPC cannot start a server here; the log above has the reason"));
  }
  listeners_.push_back(std::move(listener));
  return absl::OkStatus();
}

void GrpcServer::ShowListening() {
  const std::vector<ListenerState> all = listeners();
  health_.Set("listen", std::all_of(all.begin(), all.end(), [](const ListenerState& listener) {
                return listener.listening;
              }));
}

void GrpcServer::Probe(std::function<void()> acceptor, std::function<void()> grpc) {
  acceptor_->CallInTurn(std::move(acceptor));
  struct Ping {  // owns itself
    std::function<void()> done;
    grpc::ByteBuffer request;
    grpc::ByteBuffer response;
    grpc::ClientContext context;
  };
  const grpc::Slice empty;
  auto* const ping = new Ping{std::move(grpc), grpc::ByteBuffer(&empty, 1), {}, {}};
  nowhere_.UnaryCall(&ping->context, "/vmeventd.internal/Ping", grpc::StubOptions(), &ping->request,
                     &ping->response, [ping](const grpc::Status&) {
                       const std::function<void()> answered = std::move(ping->done);
                       // The context holds a reference to the channel, and after the answer this
                       // may go: the last reference must not go on this thread, which belongs to
                       // the channel (gRPC 1.51 frees the completion queue that the thread still
                       // uses).
                       delete ping;
                       answered();
                     });
}

void GrpcServer::SetServing(bool serving) {
  health_.Set("", serving);
  health_.Set(v1::VmEventService::service_full_name(), serving);
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
  const auto deadline = std::chrono::system_clock::now() + absl::ToChronoMicroseconds(kFlushTime);
  for (const auto& listener : listeners_) listener->server->Shutdown(deadline);
}

GrpcServer::~GrpcServer() { Shutdown(absl::ZeroDuration()); }

}  // namespace vmeventd
