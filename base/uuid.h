#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

// UUIDs and random bytes. Any thread.

namespace vmeventd {

using Uuid = std::pair<uint64_t, uint64_t>;

// Reads "550e8400-e29b-41d4-a716-446655440000", in either case; unset for anything else.
std::optional<Uuid> ParseUuid(absl::string_view text);

// `count` unpredictable bytes, at most 256.
std::string RandomBytes(size_t count);

// The UUID (RFC 4122, version 4) made of 16 bytes, in lower case. Replaces its version and variant
// bits.
std::string UuidFromBytes(std::string bytes);

// A random UUID (RFC 4122, version 4), in lower case.
std::string RandomUuid();

}  // namespace vmeventd
