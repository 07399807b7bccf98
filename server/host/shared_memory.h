#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/unique_fd.h"

namespace vmeventd {

// Memory that lives as long as somebody holds its descriptor, mapped into this process. Its size is
// sealed, so that nobody can shrink it while it is mapped. Untouched pages take no memory. Any
// thread.
class SharedMemory {
 public:
  // Creates the memory, all NUL. `name` is what /proc/PID/maps and the service manager's tools
  // show. Its first `held_bytes` are locked in memory if the limits permit it, so that the kernel
  // writes there without waiting for a page. An error names the system call that failed.
  static absl::StatusOr<std::unique_ptr<SharedMemory>> Create(const std::string& name, size_t size,
                                                              size_t held_bytes);
  // Opens the memory of another process for reading. INVALID_ARGUMENT: `fd` is no such memory.
  static absl::StatusOr<std::unique_ptr<SharedMemory>> Open(UniqueFd fd);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  int descriptor() const { return fd_.get(); }
  absl::Span<char> bytes() const { return bytes_; }

 private:
  SharedMemory(UniqueFd fd, absl::Span<char> bytes) : fd_(std::move(fd)), bytes_(bytes) {}

  const UniqueFd fd_;
  const absl::Span<char> bytes_;
};

}  // namespace vmeventd
