#ifndef VMEVENTD_CLIENT_OUTPUT_OUTPUT_H_
#define VMEVENTD_CLIENT_OUTPUT_OUTPUT_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace vmeventd::client {

// The destination of results. One thread.
class Output {
 public:
  virtual ~Output() = default;

  // Returns once all of `text` is written. CANCELLED: the reader has gone (a broken pipe), which is
  // no failure of this program; the message of any other error names the fault.
  virtual absl::Status Write(absl::string_view text) = 0;
};

// Writes to a descriptor, which it does not own. The caller must ignore SIGPIPE.
class DescriptorOutput : public Output {
 public:
  explicit DescriptorOutput(int descriptor) : descriptor_(descriptor) {}
  absl::Status Write(absl::string_view text) override;

 private:
  const int descriptor_;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OUTPUT_OUTPUT_H_
