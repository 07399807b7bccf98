#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::bench {

// Counts the events of one encoded WatchEventsResponse without decoding them.
uint64_t CountEvents(const grpc::ByteBuffer& message);

// WatchEvents streams whose events one thread counts and drops.
class Subscribers {
 public:
  // Opens `count` streams, up to 100 of them on one connection. Returns when each has got its first
  // message; throws if one is refused.
  Subscribers(
      const std::string& address, int count,
      const std::shared_ptr<grpc::ChannelCredentials>& with = grpc::InsecureChannelCredentials());
  // Opens one stream for each request.
  Subscribers(
      const std::string& address, const std::vector<v1::WatchEventsRequest>& requests,
      const std::shared_ptr<grpc::ChannelCredentials>& with = grpc::InsecureChannelCredentials());
  ~Subscribers();
  Subscribers(const Subscribers&) = delete;
  Subscribers& operator=(const Subscribers&) = delete;

  // Waits until all streams together have got `events` events. Returns the time at which that was
  // reached; now, if it was reached before.
  absl::Time WaitDelivered(uint64_t events);

 private:
  struct Stream;
  Subscribers();
  void Run();
  void OnMessage(Stream* stream);

  grpc::CompletionQueue queue_;
  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::vector<std::unique_ptr<Stream>> streams_;
  Mutex mutex_;
  CondVar changed_;
  int open_ ABSL_GUARDED_BY(mutex_) = 0;
  int failed_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t delivered_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t target_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time reached_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace vmeventd::bench
