#include "tests/support/fake_server.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

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

std::vector<v1::WatchEventsRequest> FakeService::WatchRequests() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return watch_requests_;
}

void FakeService::Release() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    released_ = true;
  }
  released_changed_.notify_all();
}

grpc::Status FakeService::WatchEvents(grpc::ServerContext* /*context*/,
                                      const v1::WatchEventsRequest* request,
                                      grpc::ServerWriter<v1::WatchEventsResponse>* writer) {
  StreamScript script;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    watch_requests_.push_back(*request);
    if (streams.empty()) return {grpc::StatusCode::UNAVAILABLE, "no script is left"};
    script = streams.front();
    streams.pop_front();
  }
  for (const v1::WatchEventsResponse& message : script.messages) {
    if (!writer->Write(message)) return grpc::Status::CANCELLED;
  }
  if (script.hold_open) {
    std::unique_lock<std::mutex> lock(mutex_);
    released_changed_.wait(lock, [this] { return released_; });
  }
  return script.end;
}

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

absl::Status StringOutput::Write(absl::string_view added) {
  if (!status.ok()) return status;
  absl::StrAppend(&text, added);
  after_write();
  return absl::OkStatus();
}

std::string PathsOf(absl::string_view json) {
  std::string paths;
  for (const absl::string_view line : absl::StrSplit(json, '\n', absl::SkipEmpty())) {
    nlohmann::json one = nlohmann::json::parse(std::string(line));
    if (one.contains("ends_in_24h")) one = one[one.contains("vm") ? "vm" : "last_end"];  // of `why`
    const std::string cluster = one.value("cluster", "");
    absl::StrAppend(&paths, cluster, cluster.empty() ? "" : "/", std::string(one["node"]), "/",
                    std::string(one[one.contains("ref") ? "ref" : "vm"]["name"]), "\n");
  }
  return paths;
}

v1::Event MakeEvent(uint64_t sequence, const std::string& vm_name) {
  v1::Event event;
  event.set_sequence(sequence);
  event.mutable_observe_time()->set_seconds(1782907200);  // 2026-07-01T12:00:00Z
  event.mutable_observe_time()->set_nanos(123000000);
  event.mutable_vm()->set_name(vm_name);
  event.set_type(v1::EVENT_TYPE_STARTED);
  event.set_durable(true);
  return event;
}

v1::Progress MakeProgress(uint64_t sequence, const std::string& journal_id) {
  v1::Progress progress;
  progress.set_sequence(sequence);
  progress.set_durable_sequence(sequence);
  progress.set_journal_id(journal_id);
  return progress;
}

v1::Vm MakeVm(const std::string& name) {
  v1::Vm vm;
  vm.mutable_ref()->set_name(name);
  vm.set_state(v1::VM_STATE_RUNNING);
  return vm;
}

v1::WatchEventsResponse ProgressMessage(uint64_t sequence, const std::string& journal_id) {
  v1::WatchEventsResponse response;
  *response.mutable_progress() = MakeProgress(sequence, journal_id);
  return response;
}

v1::WatchEventsResponse EventsMessage(const std::vector<uint64_t>& sequences) {
  v1::WatchEventsResponse response;
  for (const uint64_t sequence : sequences) *response.add_events() = MakeEvent(sequence);
  return response;
}

}  // namespace vmeventd::client
