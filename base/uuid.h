#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

// UUIDs. Any thread.

namespace vmeventd {

using Uuid = std::pair<uint64_t, uint64_t>;

// Parses "550e8400-e29b-41d4-a716-446655440000", in upper or lower case; unset for anything else.
std::optional<Uuid> ParseUuid(absl::string_view text);

// Returns the UUID (RFC 4122, version 4) made of 16 bytes, in lower case. Sets the version and
// variant bits.
std::string UuidFromBytes(std::string bytes);

// A random UUID (RFC 4122, version 4), in lower case.
std::string RandomUuid();

}  // namespace vmeventd
