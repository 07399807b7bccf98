#include "server/grpc_server.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "google/protobuf/generated_message_reflection.h"
#include "grpc/grpc.h"
#include "grpc/health/v1/health.pb.h"
#include "grpcpp/ext/channelz_service_plugin.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "server/errno_status.h"
#include "server/listen_socket.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd {
namespace {

constexpr int kMaxRequestBytes = 1 << 20;
constexpr mode_t kSocketMode = 0660;

// So that a socket is never, not for a moment, open to everyone.
class SocketUmask {
 public:
  SocketUmask() : old_(umask(0777 & ~kSocketMode)) {}
  ~SocketUmask() { umask(old_); }

 private:
  const mode_t old_;
};

// The last server that goes would shut down the library with it, and that waits up to 10 s for a
// poller of its own (gRPC 1.51, the backup poller of tcp_posix.cc): longer than a stop may take. So
// the library stays up until the process ends.
void KeepLibraryUp() {
  static const bool kept = [] {
    grpc_init();
    return true;
  }();
  static_cast<void>(kept);
}

void SetOptions(grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(kMaxRequestBytes);
  // A second server on the same port must fail, not share it.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
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

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(
    const std::vector<ListenAddress>& addresses, grpc::Service* service) {
  KeepLibraryUp();
  std::vector<std::unique_ptr<LockFile>> locks;
  for (const ListenAddress& address : addresses) {
    if (!address.is_unix()) continue;
    if (absl::Status status = MakeSocketDirectory(address); !status.ok()) return status;
    absl::StatusOr<std::unique_ptr<LockFile>> lock = LockFile::Acquire(address.path + ".lock");
    if (!lock.ok()) return lock.status();
    locks.push_back(*std::move(lock));
  }
  for (const ListenAddress& address : addresses) {
    if (absl::Status status = PrepareListenAddress(address); !status.ok()) return status;
  }
  std::unique_ptr<GrpcServer> server(new GrpcServer(addresses, std::move(locks)));
  if (absl::Status status = server->Listen(service); !status.ok()) return status;
  return server;
}

absl::Status GrpcServer::Listen(grpc::Service* service) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  // gRPC's own health service brings no description that reflection could tell.
  google::protobuf::LinkMessageReflection<grpc::health::v1::HealthCheckRequest>();
  grpc::channelz::experimental::InitChannelzService();
  grpc::ServerBuilder builder;
  SetOptions(&builder);
  std::vector<int> ports(addresses_.size(), 0);
  for (size_t i = 0; i < addresses_.size(); ++i) {
    builder.AddListeningPort(addresses_[i].GrpcTarget(), grpc::InsecureServerCredentials(),
                             &ports[i]);
  }
  builder.RegisterService(service);
  {
    const SocketUmask umask_while_binding;
    server_ = builder.BuildAndStart();
  }
  for (size_t i = 0; i < addresses_.size(); ++i) {
    ListenAddress& address = addresses_[i];
    if (ports[i] <= 0 || server_ == nullptr) {
      return absl::InternalError(
          absl::StrCat(address.ToString(), ": gRPC cannot listen here; its log has the reason"));
    }
    if (!address.is_unix()) {
      address.port = static_cast<uint16_t>(ports[i]);
    } else if (chmod(address.path.c_str(), kSocketMode) != 0) {
      return ErrnoStatus(address.path, "cannot set the socket's mode", errno);
    }
  }
  SetServing(false);
  SetJournalServing(true);
  return absl::OkStatus();
}

void GrpcServer::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* const health = server_->GetHealthCheckService();
  health->SetServingStatus("", serving);
  health->SetServingStatus(v1::VmEventService::service_full_name(), serving);
}

void GrpcServer::SetJournalServing(bool serving) {
  server_->GetHealthCheckService()->SetServingStatus("journal", serving);
}

void GrpcServer::Shutdown(absl::Duration timeout) {
  server_->Shutdown(std::chrono::system_clock::now() + absl::ToChronoMicroseconds(timeout));
}

GrpcServer::~GrpcServer() {
  if (server_ == nullptr) return;
  Shutdown(absl::ZeroDuration());
  server_.reset();
  for (const ListenAddress& address : addresses_) {
    if (address.is_unix()) unlink(address.path.c_str());  // gRPC has done so, but for an error
  }
}

}  // namespace vmeventd
