#include "tests/support/fake_service.h"

namespace vmeventd::client {

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

}  // namespace vmeventd::client
