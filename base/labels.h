#pragma once

#include <cstddef>

#include "absl/strings/string_view.h"

// The limits of the labels of VMs.

namespace vmeventd {

inline constexpr size_t kMaxLabels = 16;  // limit per VM
inline constexpr size_t kMaxLabelKeyBytes = 63;
inline constexpr size_t kMaxLabelValueBytes = 128;

// Returns whether `key` can be a label's: not empty, not too long, only letters, digits and "._-/".
bool IsLabelKey(absl::string_view key);

}  // namespace vmeventd
