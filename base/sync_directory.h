#pragma once

#include <string>

#include "absl/status/status.h"

namespace vmeventd {

// Syncs the directory of a file, so that a loss of power leaves the file's name there.
absl::Status SyncDirectoryOf(const std::string& path);

}  // namespace vmeventd
