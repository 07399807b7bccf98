#ifndef VMEVENTD_CLIENT_OUTPUT_OUTPUT_H_
#define VMEVENTD_CLIENT_OUTPUT_OUTPUT_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace vmeventd::client {

// Where results go. One thread.
class Output {
 public:
  virtual ~Output() = default;

  // Writes all of `text` through to the reader before it returns. CANCELLED: the reader has gone (a
  // broken pipe), which is no error of this program; otherwise the message names what failed.
  virtual absl::Status Write(absl::string_view text) = 0;
};

// Writes to a descriptor, which it does not own. SIGPIPE must be ignored.
class DescriptorOutput : public Output {
 public:
  explicit DescriptorOutput(int descriptor) : descriptor_(descriptor) {}
  absl::Status Write(absl::string_view text) override;

 private:
  const int descriptor_;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OUTPUT_OUTPUT_H_
