#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd {

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

}  // namespace vmeventd
