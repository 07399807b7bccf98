#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "watcher/core/watch_spec.h"

// Texts that vmeventd's configuration file can hold, and their quotation. Pure.

namespace vmeventd::client {

// Returns whether vmeventd reads this text from the file as it was written: of "#", control
// characters and some quotation marks it does not.
bool FileHolds(absl::string_view text);

// The text, quoted for the file: a string of TOML.
std::string QuoteForFile(absl::string_view text);

// Returns whether vmeventd starts with this --watch in its file, and takes no manager's monitor.
bool MayPropose(const WatchSpec& watch);

}  // namespace vmeventd::client
