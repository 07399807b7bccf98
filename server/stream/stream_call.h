#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "grpcpp/support/byte_buffer.h"

namespace vmeventd {

class WatchStream;

// A call that is answered with a stream. Lives until OnDone. Any thread.
class StreamCall {
 public:
  // Sends the call's reports to `stream` from now on. Call it once, before the other methods.
  virtual void AnswerBy(WatchStream* stream) = 0;
  // Counts `bytes` as held by the call until it is done. RESOURCE_EXHAUSTED: that would be too
  // many.
  virtual absl::Status Hold(size_t bytes) = 0;
  // Sends `message`, which must stay until OnWriteDone. One at a time.
  virtual void Write(const grpc::ByteBuffer* message) = 0;
  // Ends the call with `status`. Call it once, and not during a write.
  virtual void End(const absl::Status& status) = 0;
  // Sends `status` now, even if the client does not read: a cancellation overtakes data that waits
  // to be read. OnCancel follows; End must still be called.
  virtual void Abort(const absl::Status& status) = 0;

 protected:
  ~StreamCall() = default;
};

}  // namespace vmeventd
