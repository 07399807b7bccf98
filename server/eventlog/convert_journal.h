#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace vmeventd {

// Makes the journal at `path`, of schema version 1, which had a row an event, one of this version:
// the same journal, with the same events, runs and stops. It is written as PATH.new beside the old
// one and takes its place in one step, so a kill or a loss of power leaves either. The memory it
// takes does not grow with the journal. DATA_LOSS: the old one is damaged. UNAVAILABLE: it cannot
// be read or written now, or another program uses it; nothing has changed.
absl::Status ConvertJournal(const std::string& path);

}  // namespace vmeventd
