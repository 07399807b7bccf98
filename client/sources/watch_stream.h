#pragma once

#include <functional>
#include <memory>
#include <stop_token>

#include "absl/time/time.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_stream.h"
#include "grpcpp/support/status.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd::client {

// One WatchEvents call, whose messages can be waited for with a limit. One thread; a stop, which
// may come from any thread, cancels the call.
class WatchStream {
 public:
  enum class Step { kNothing, kMessage, kEnd };

  // Starts the call. `stub` must outlive it.
  WatchStream(v1::VmEventService::StubInterface* stub, const v1::WatchEventsRequest& request,
              const std::stop_token& stop);
  // Cancels the call if it has not ended.
  ~WatchStream();
  WatchStream(const WatchStream&) = delete;
  WatchStream& operator=(const WatchStream&) = delete;

  // Waits for a message. kNothing: none came within `limit`; wait again. After kEnd, Finish() has
  // the reason.
  Step Wait(absl::Duration limit);
  // The message of the last Wait() that returned kMessage, until the next Wait().
  v1::WatchEventsResponse* response() { return &response_; }

  // Waits for the end of the call, and returns its status.
  grpc::Status Finish();

 private:
  grpc::ClientContext call_;
  grpc::CompletionQueue queue_;
  v1::WatchEventsResponse response_;
  grpc::Status status_;
  const std::unique_ptr<grpc::ClientAsyncReaderInterface<v1::WatchEventsResponse>> reader_;
  bool waits_ = true;  // for an operation, at first for the start of the call
  bool started_ = false;
  bool finished_ = false;
  const std::stop_callback<std::function<void()>> on_stop_;
};

}  // namespace vmeventd::client
