#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "server/config/log_format.h"
#include "spdlog/common.h"
#include "spdlog/details/log_msg.h"

// The form of a log line. Pure; any thread.

namespace vmeventd {

// The logger of lines of stops, which have fields: the payload is a JSON object whose first member
// is "message".
inline constexpr char kStopLogger[] = "stop";
// The logger of the log's reports about itself, with payloads of the same kind.
inline constexpr char kLimiterLogger[] = "limiter";

// Returns the message as a line:
//   text  2026-01-31T12:00:00.123Z info  message key=value key="a value"
//   json  {"time":"2026-01-31T12:00:00.123Z","level":"info","message":"message","key":"value"}
// For the journal each line begins with its priority, such as <4>, and text has no time. In both
// formats line breaks, other control characters and those that change the direction of text are
// escaped.
std::string FormatLine(const spdlog::details::log_msg& msg, LogFormat format, bool for_journal);

// Returns the kind of a message, whose lines have one limit: "info" or "stop warn", for example.
std::string LineKind(const spdlog::details::log_msg& msg);

// Returns a field as text: a list with "; " between its entries.
std::string FieldText(const nlohmann::ordered_json& value);

// Returns `text` for one line of a log: the bytes of each control character, each invisible or
// direction-changing character and all invalid UTF-8 are written as \xNN.
std::string OnOneLine(absl::string_view text);

inline absl::string_view View(const spdlog::string_view_t& text) {
  return {text.data(), text.size()};
}

}  // namespace vmeventd
