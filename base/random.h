#ifndef VMEVENTD_BASE_RANDOM_H_
#define VMEVENTD_BASE_RANDOM_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace vmeventd {

// Bytes that nobody can guess. An error says that the system has no randomness to give.
absl::StatusOr<std::string> RandomBytes(size_t count);

// A random UUID (RFC 4122, version 4), in lower case.
absl::StatusOr<std::string> RandomUuid();

}  // namespace vmeventd

#endif  // VMEVENTD_BASE_RANDOM_H_
