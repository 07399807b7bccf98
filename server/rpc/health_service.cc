#include "server/rpc/health_service.h"

#include <optional>
#include <utility>
#include <vector>

#include "base/error_reason.h"
#include "grpc/health/v1/health.pb.h"

namespace vmeventd {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

constexpr size_t kMaxServiceName = 200;

std::string Encode(int status) {
  HealthCheckResponse response;
  response.set_status(static_cast<HealthCheckResponse::ServingStatus>(status));
  return response.SerializeAsString();
}

// The service named in a request.
absl::StatusOr<std::string> ServiceOf(const grpc::ByteBuffer& bytes) {
  HealthCheckRequest request;
  if (absl::Status status = ParseMessage(bytes, &request); !status.ok()) return status;
  if (request.service().size() > kMaxServiceName) {
    return absl::InvalidArgumentError(
        "service: the name is too long; it must have at most 200 bytes");
  }
  return request.service();
}

}  // namespace

// One Health/Watch: sends each status that differs from the last one sent. Any thread.
class Health::Watcher : public CallStream, public std::enable_shared_from_this<Health::Watcher> {
 public:
  Watcher(Health* health, StreamCall* call, std::string service)
      : health_(health), call_(call), service_(std::move(service)) {}

  // Call it when the status may have changed, or the daemon stops.
  void Wake() {
    const auto self = shared_from_this();  // another thread may end the call in the meantime
    std::optional<absl::Status> finish;
    {
      const MutexLock lock(&mutex_);
      if (writing_ || finished_) return;
      const Current now = health_->Read(service_);
      if (!cancelled_ && now.status != sent_) {
        writing_ = true;
        sent_ = now.status;
        const grpc::Slice slice(Encode(sent_));
        message_ = grpc::ByteBuffer(&slice, 1);
      } else if (cancelled_ || now.draining) {
        finished_ = true;
        finish = cancelled_ ? absl::CancelledError("the call was cancelled") : ShuttingDown();
      } else {
        return;
      }
    }
    if (finish.has_value()) {
      call_->End(*finish);
    } else {
      call_->Write(&message_);
    }
  }

  void OnWriteDone(bool ok) override {
    {
      const MutexLock lock(&mutex_);
      writing_ = false;
      if (!ok) cancelled_ = true;
    }
    Wake();
  }
  void OnCancel() override {
    {
      const MutexLock lock(&mutex_);
      cancelled_ = true;
    }
    Wake();
  }
  void OnDone() override { health_->Forget(this); }

 private:
  Health* const health_;
  StreamCall* const call_;
  const std::string service_;
  grpc::ByteBuffer message_;  // message in flight

  Mutex mutex_;  // acquired before the lock of health_
  int sent_ ABSL_GUARDED_BY(mutex_) = -1;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

Health::Health() = default;
Health::~Health() = default;

Health::Current Health::Read(const std::string& service) const {
  const MutexLock lock(&mutex_);
  const auto found = serving_.find(service);
  if (found == serving_.end()) return {HealthCheckResponse::SERVICE_UNKNOWN, draining_};
  return {
      found->second && !draining_ ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING,
      draining_};
}

void Health::WakeWatchers() {
  std::vector<std::shared_ptr<Watcher>> watchers;
  {
    const MutexLock lock(&mutex_);
    for (const auto& [key, watcher] : watchers_) watchers.push_back(watcher);
  }
  for (const auto& watcher : watchers) watcher->Wake();
}

std::optional<bool> Health::IsServing(const std::string& service) const {
  const int status = Read(service).status;
  if (status == HealthCheckResponse::SERVICE_UNKNOWN) return std::nullopt;
  return status == HealthCheckResponse::SERVING;
}

void Health::Set(const std::string& service, bool serving) {
  {
    const MutexLock lock(&mutex_);
    serving_[service] = serving;
  }
  WakeWatchers();
}

void Health::Drain() {
  {
    const MutexLock lock(&mutex_);
    draining_ = true;
  }
  WakeWatchers();
}

void Health::Check(IncomingCall* call) const {
  const absl::StatusOr<std::string> service = ServiceOf(call->request());
  if (!service.ok()) return call->Answer(service.status());
  const int status = Read(*service).status;
  if (status == HealthCheckResponse::SERVICE_UNKNOWN) {
    return call->Answer(absl::NotFoundError("no service has this name"));
  }
  call->Answer(Encode(status));
}

void Health::Watch(IncomingCall* call) {
  const absl::StatusOr<std::string> service = ServiceOf(call->request());
  if (!service.ok()) return call->Answer(service.status());
  const auto watcher = std::make_shared<Watcher>(this, call, *service);
  {
    const MutexLock lock(&mutex_);
    watchers_.emplace(watcher.get(), watcher);
  }
  call->AnswerBy(watcher.get());
  watcher->Wake();
}

void Health::Forget(Watcher* watcher) {
  std::shared_ptr<Watcher> released;  // destroyed without the lock
  const MutexLock lock(&mutex_);
  const auto found = watchers_.find(watcher);
  released = std::move(found->second);
  watchers_.erase(found);
}

void Health::AddTo(CallService* listener) {
  listener->Add("/grpc.health.v1.Health/Check", [this](IncomingCall* call) { Check(call); });
  listener->Add("/grpc.health.v1.Health/Watch", [this](IncomingCall* call) { Watch(call); });
}

}  // namespace vmeventd
