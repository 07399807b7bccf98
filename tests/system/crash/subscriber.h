#ifndef VMEVENTD_TESTS_SYSTEM_CRASH_SUBSCRIBER_H_
#define VMEVENTD_TESTS_SYSTEM_CRASH_SUBSCRIBER_H_

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
  // How each stream begins; kAfter: the first one from the oldest event on, each later one where
  // the one before it ended, as the contract says.
  StreamStart start = StreamStart::kAfter;
  v1::EventFilter filter;
  absl::Duration pause;  // after each message
};

// A client that opens one stream after another, on a thread of its own, and writes down all that
// comes.
class Subscriber {
 public:
  // `sightings` outlives the subscriber.
  Subscriber(SubscriberOptions options, Sightings* sightings);
  ~Subscriber();
  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;

  const std::string& name() const { return options_.name; }
  // From now on without its pauses.
  void HurryUp();
  // Whether everything up to `sequence` has come on the stream that is open; or never will, because
  // the daemon has refused the client.
  bool HasReached(uint64_t sequence) const;
  // Ends its stream, and returns what happened. Once.
  ClientHistory Stop();

 private:
  void Run();
  // Opens the next stream, or returns null: it is to stop.
  std::unique_ptr<grpc::ClientReader<v1::WatchEventsResponse>> Open(grpc::ClientContext* context);
  void ReadStream();
  void Take(const v1::WatchEventsResponse& response);
  void Pause();

  const SubscriberOptions options_;
  Sightings* const sightings_;
  std::unique_ptr<v1::VmEventService::Stub> stub_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All below under mutex_.
  ClientHistory history_;
  grpc::ClientContext* context_ = nullptr;  // of the stream that is open
  bool hurry_ = false;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace vmeventd::crash

#endif  // VMEVENTD_TESTS_SYSTEM_CRASH_SUBSCRIBER_H_
