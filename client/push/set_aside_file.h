#ifndef VMEVENTD_CLIENT_PUSH_SET_ASIDE_FILE_H_
#define VMEVENTD_CLIENT_PUSH_SET_ASIDE_FILE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace vmeventd::client {

// The file of the events that a receiver will never take, a JSON object a line. It belongs to its
// owner alone, and is opened for each addition, so that a person may move it away. One writer.
class SetAsideFile {
 public:
  static constexpr uint64_t kMostBytes = uint64_t{64} << 20;

  explicit SetAsideFile(std::string path, uint64_t most_bytes = kMostBytes)
      : path_(std::move(path)), most_bytes_(most_bytes) {}

  const std::string& path() const { return path_; }
  // Adds whole lines, and returns when they survive a crash; after an error the file is as it was.
  // RESOURCE_EXHAUSTED: it would have more than its limit. FAILED_PRECONDITION: it is a link, no
  // regular file, or not its owner's alone. UNAVAILABLE: the disk's fault.
  absl::Status Append(absl::string_view lines) const;

 private:
  const std::string path_;
  const uint64_t most_bytes_;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_PUSH_SET_ASIDE_FILE_H_
