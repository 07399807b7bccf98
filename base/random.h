#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace vmeventd {

// `count` unpredictable bytes. An error means that the system could not provide them.
absl::StatusOr<std::string> RandomBytes(size_t count);

// The UUID (RFC 4122, version 4) made of 16 bytes, in lower case. Replaces its version and variant
// bits.
std::string UuidFromBytes(std::string bytes);

// A random UUID (RFC 4122, version 4), in lower case.
absl::StatusOr<std::string> RandomUuid();

}  // namespace vmeventd
