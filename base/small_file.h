#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// Reads a file of the kernel (/proc, a cgroup) or another short one, at most `max_bytes` of it.
// Does not block, even on a FIFO. Errors name the path; RESOURCE_EXHAUSTED: out of descriptors.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t max_bytes = 4096);
// Reads an open file in the same way, from its current offset. `path` is for errors.
absl::StatusOr<std::string> ReadSmallFile(int file, absl::string_view path, size_t max_bytes);

}  // namespace vmeventd
