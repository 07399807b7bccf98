#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "server/rpc/vm_event_service.h"
#include "server/stream/stream_hub.h"
#include "server/transport/grpc_server.h"
#include "tests/support/open_call.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_events.h"
#include "tests/support/wait.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd {

// The whole daemon without the watcher, on a Unix socket. The test acts as the watcher, the pump's
// thread and the clock.
class TestServer {
 public:
  explicit TestServer(StreamOptions streams = {}, Ring events = {}, JournalOptions journal = {});
  // Serves on these listeners instead of a Unix socket.
  explicit TestServer(GrpcServerOptions listeners);
  ~TestServer();

  void Push(std::vector<VmUpdate> updates) { pumped_.Push(std::move(updates)); }
  void PushEach(const std::string& name, int count) { pumped_.PushEach(name, count); }
  // Advances the clock, and then does what is due.
  void Pass(absl::Duration time);

  FakeClock& clock() { return pumped_.clock(); }
  PumpedState& pumped() { return pumped_; }
  StreamHub& hub() { return hub_; }
  GrpcServer& server() { return *server_; }
  VmEventService& service() { return service_; }
  RefusalCounters& refusals() { return refusals_; }
  std::string address() const { return server_->listeners()[0].address.ToString(); }
  // A client of the first listener. For the test's thread.
  v1::VmEventService::Stub* stub() { return stub_.get(); }
  // Returns a stub or a channel with its own connection to the first listener.
  std::unique_ptr<v1::VmEventService::Stub> NewStub() const;
  std::shared_ptr<grpc::Channel> NewChannel() const;

 private:
  TestServer(StreamOptions streams, Ring events, JournalOptions journal,
             GrpcServerOptions listeners);

  TemporaryDirectory directory_;
  PumpedState pumped_;
  RefusalCounters refusals_;
  StreamHub hub_;
  VmEventService service_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<v1::VmEventService::Stub> stub_;
};

inline v1::WatchEventsRequest Live() { return {}; }
inline v1::WatchEventsRequest FromTheOldest() {
  v1::WatchEventsRequest request;
  request.set_from_oldest(true);
  return request;
}

// A WatchEvents call that the test's thread reads.
class TestStream {
 public:
  TestStream(v1::VmEventService::Stub* stub, const v1::WatchEventsRequest& request);
  ~TestStream();  // cancels it

  // Waits for the next message; fails at the call's deadline.
  v1::WatchEventsResponse Next();
  // Waits for the next `count` events and returns their sequences; skips other messages.
  std::vector<uint64_t> NextSequences(size_t count);
  // Reads to the end of the stream.
  grpc::Status End();
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchEventsResponse>> reader_;
  bool finished_ = false;
};

// The reason of an error for programs: a name of the contract's ErrorReason without its prefix;
// "none": the error has none.
std::string ReasonOf(const grpc::Status& status);
// Its facts for programs, by their names in the contract.
std::map<std::string, std::string> FactsOf(const grpc::Status& status);

}  // namespace vmeventd
