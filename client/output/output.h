#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace vmeventd::client {

// The destination of results. One thread.
class Output {
 public:
  virtual ~Output() = default;

  // Returns after the whole text is written. CANCELLED: the reader has closed a pipe, which is not
  // a failure of this program; the message of any other error names the fault.
  virtual absl::Status Write(absl::string_view text) = 0;
};

// Writes to a descriptor that it does not own. The caller must ignore SIGPIPE.
class DescriptorOutput : public Output {
 public:
  explicit DescriptorOutput(int descriptor) : descriptor_(descriptor) {}
  absl::Status Write(absl::string_view text) override;

 private:
  const int descriptor_;
};

}  // namespace vmeventd::client
