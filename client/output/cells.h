#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "client/output/table_layout.h"
#include "vmeventd/v1/vm_events.pb.h"

// Cells that several lists of a Formatter have. Only for the Formatter's own files.

namespace vmeventd::client {

// The end in one line; in a wide table with its evidence.
std::string EndLine(const v1::ShutdownDetail& shutdown, absl::string_view message, bool wide);

Cell ClassCell(const v1::ShutdownDetail& shutdown);

// "-" for an empty text.
inline std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

}  // namespace vmeventd::client
