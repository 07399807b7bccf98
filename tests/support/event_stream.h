#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd::e2e {

// A WatchEvents stream, read on its own thread until the server ends it.
class EventStream {
 public:
  using Predicate = std::function<bool(const v1::Event&)>;
  using Listener = std::function<void(const v1::Event&)>;

  // `listener` is called with each event as it arrives, on the reading thread.
  EventStream(const std::shared_ptr<grpc::Channel>& channel, const v1::WatchEventsRequest& request,
              Listener listener = {});
  ~EventStream();  // cancels it
  EventStream(const EventStream&) = delete;
  EventStream& operator=(const EventStream&) = delete;

  // Waits for an event that matches; earlier events count too. If none arrives, throws an error
  // that lists all events.
  v1::Event Wait(const std::string& what, const Predicate& predicate);
  // Waits for the `nth` event of a VM and type, counted from 1; throws like the other Wait().
  v1::Event Wait(const std::string& vm_name, v1::EventType type, int nth = 1);
  // Waits for the stream's first message, its position. Later events are delivered.
  v1::Progress WaitProgress();
  // Waits until the server ends the stream.
  grpc::Status WaitEnd();

  std::vector<v1::Event> events() const;
  std::vector<v1::Event> EventsOf(const std::string& vm_name) const;

 private:
  void Read();
  template <typename Condition>
  void WaitFor(const std::string& what, const Condition& condition);

  std::unique_ptr<v1::VmEventService::Stub> stub_;
  grpc::ClientContext context_;
  const Listener listener_;
  std::unique_ptr<grpc::ClientReader<v1::WatchEventsResponse>> reader_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<v1::Event> events_;  // guarded by mutex_, like all members below
  std::vector<v1::Progress> progress_;
  bool ended_ = false;
  grpc::Status status_;
  std::thread thread_;
};

// The types of the events, as "STARTED PAUSED STOPPED".
std::string TypesOf(const std::vector<v1::Event>& events);

}  // namespace vmeventd::e2e
