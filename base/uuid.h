#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/string_view.h"

namespace vmeventd {

using Uuid = std::pair<uint64_t, uint64_t>;

// Reads "550e8400-e29b-41d4-a716-446655440000", in either case; unset for anything else.
std::optional<Uuid> ParseUuid(absl::string_view text);

}  // namespace vmeventd
