#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "tests/system/crash/history.h"
#include "tests/system/crash/sightings.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd::crash {

struct SubscriberOptions {
  std::string name;
  std::string address;  // the daemon's, for gRPC
  // The start of each stream; kAfter: the first one at the oldest event, each later one where the
  // previous one ended, as the contract requires.
  StreamStart start = StreamStart::kAfter;
  absl::Duration pause;  // after each message
};

// A client that opens one stream after another, on its own thread, and records everything it
// receives.
class Subscriber {
 public:
  // `sightings` must outlive the subscriber.
  Subscriber(SubscriberOptions options, Sightings* sightings);
  ~Subscriber();
  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;

  const std::string& name() const { return options_.name; }
  // Stops pausing from now on.
  void HurryUp();
  // Returns whether the open stream has delivered everything up to `sequence`; also true if it
  // never will, because the daemon refused the client.
  bool HasReached(uint64_t sequence) const;
  // Ends its stream and returns its history. Call it once.
  ClientHistory Stop();

 private:
  void Run();
  // Opens the next stream; null: the subscriber is to stop.
  std::unique_ptr<grpc::ClientReader<v1::WatchEventsResponse>> Open(grpc::ClientContext* context);
  void ReadStream();
  void Take(const v1::WatchEventsResponse& response);
  void Pause();

  const SubscriberOptions options_;
  Sightings* const sightings_;
  std::unique_ptr<v1::VmEventService::Stub> stub_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All below is guarded by mutex_.
  ClientHistory history_;
  grpc::ClientContext* context_ = nullptr;  // context of the open stream
  bool hurry_ = false;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace vmeventd::crash
