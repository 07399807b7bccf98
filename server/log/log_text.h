#ifndef VMEVENTD_SERVER_LOG_LOG_TEXT_H_
#define VMEVENTD_SERVER_LOG_LOG_TEXT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

// Text for one line of a log. Pure; any thread.

namespace vmeventd {

// `text` with every byte that is part of a control character, of one that turns the direction of
// the text or cannot be seen, or of no valid UTF-8, written as \xNN.
std::string OnOneLine(absl::string_view text);

// " key=value" for each member of `fields` but "message": a value in quotes where it needs them, a
// list with "; " between its entries.
std::string FieldsAsText(const nlohmann::ordered_json& fields);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LOG_LOG_TEXT_H_
