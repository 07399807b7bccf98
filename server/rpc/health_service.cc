#include "server/rpc/health_service.h"

#include "absl/status/status.h"
#include "grpc/health/v1/health.pb.h"
#include "server/rpc/parse_message.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

bool IsDaemon(const std::string& service) {
  return service.empty() || service == v1::VmEventService::service_full_name();
}

}  // namespace

void Health::Report(const std::vector<ServiceHealth>& services) {
  const MutexLock lock(&mutex_);
  for (const ServiceHealth& health : services) serving_[health.service] = health.serves;
}

void Health::OnFirstScan() {
  const MutexLock lock(&mutex_);
  scanned_ = true;
}

void Health::OnWatcher(bool responds) {
  const MutexLock lock(&mutex_);
  watcher_responds_ = responds;
}

void Health::OnStop() {
  const MutexLock lock(&mutex_);
  stops_ = true;
}

std::vector<std::string> Health::services() const {
  std::vector<std::string> names = {"", v1::VmEventService::service_full_name()};
  const MutexLock lock(&mutex_);
  for (const auto& [service, serves] : serving_) names.push_back(service);
  return names;
}

std::optional<bool> Health::IsServing(const std::string& service) const {
  const MutexLock lock(&mutex_);
  if (IsDaemon(service)) return scanned_ && watcher_responds_ && !stops_ && !draining_;
  const auto found = serving_.find(service);
  if (found == serving_.end()) return std::nullopt;
  return found->second && !draining_;
}

void Health::AddTo(CallService* methods) const {
  methods->Add("/grpc.health.v1.Health/Check", [this](IncomingCall* call) {
    HealthCheckRequest request;
    const absl::Status status = ParseMessage(call->request(), &request);
    if (!status.ok()) return call->Answer(status);
    const std::optional<bool> serving = IsServing(request.service());
    if (!serving.has_value()) {
      return call->Answer(absl::NotFoundError("no service has this name"));
    }
    HealthCheckResponse response;
    response.set_status(*serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
    call->Answer(response.SerializeAsString());
  });
}

}  // namespace vmeventd
