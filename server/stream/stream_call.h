#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "grpcpp/support/byte_buffer.h"

namespace vmeventd {

// Answers a call with a stream of messages. gRPC's threads call these; none may block.
class CallStream {
 public:
  virtual ~CallStream() = default;
  // The write is done. False: the client is gone.
  virtual void OnWriteDone(bool ok) = 0;
  // The client has cancelled. The stream must still End the call.
  virtual void OnCancel() = 0;
  // The call is over, and this is the last use of the stream.
  virtual void OnDone() = 0;
};

// A call that is answered with a stream. Lives until OnDone. Any thread.
class StreamCall {
 public:
  // Passes what happens to the call on to `stream`. Once, before the rest.
  virtual void AnswerBy(CallStream* stream) = 0;
  // Counts so many bytes as the call's until it is done. RESOURCE_EXHAUSTED: there are too many.
  virtual absl::Status Hold(size_t bytes) = 0;
  // Sends `message`, which must stay until OnWriteDone. One at a time.
  virtual void Write(const grpc::ByteBuffer* message) = 0;
  // Ends the call with `status`. Once, and not during a write.
  virtual void End(const absl::Status& status) = 0;
  // Sends `status` now, even if the client does not read: a cancellation overtakes data that waits
  // to be read. OnCancel follows, and End must too.
  virtual void Abort(const absl::Status& status) = 0;

 protected:
  ~StreamCall() = default;
};

}  // namespace vmeventd
