#pragma once

#include <memory>
#include <string>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "server/rpc/vm_event_service.h"
#include "server/stream/stream_hub.h"
#include "server/transport/grpc_server.h"
#include "tests/support/manual_clock.h"
#include "tests/support/pumped_state.h"
#include "tests/support/temporary_directory.h"
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

  ManualClock& clock() { return pumped_.clock(); }
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
}  // namespace vmeventd
