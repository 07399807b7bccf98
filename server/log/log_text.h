#ifndef VMEVENTD_SERVER_LOG_LOG_TEXT_H_
#define VMEVENTD_SERVER_LOG_LOG_TEXT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

// Text for one line of a log. Pure; any thread.

namespace vmeventd {

// `text` with the bytes of each control character, each invisible or direction-changing character
// and all invalid UTF-8 written as \xNN.
std::string OnOneLine(absl::string_view text);

// " key=value" for each member of `fields` except "message": a value in quotes if needed, a
// list with "; " between its entries.
std::string FieldsAsText(const nlohmann::ordered_json& fields);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LOG_LOG_TEXT_H_
