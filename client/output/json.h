#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/output/message_node.h"
#include "google/protobuf/message.h"
#include "nlohmann/json_fwd.hpp"

// Messages as JSON, for programs.

namespace vmeventd::client {

// Converts a message into one JSON object, without a newline: protobuf's JSON mapping with the
// contract's field names, enums by name, 64-bit numbers as strings. Includes zero and empty fields,
// so that a script finds each number, text and list without testing for it; omits unset messages.
// If a `node` is given, the object begins with the members "cluster" (if it has one) and "node".
absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message,
                                   const MessageNode& node = {});

// The value in one line. Bytes that are not UTF-8 are replaced.
std::string JsonText(const nlohmann::ordered_json& json);

// The members of a JSON object, as name and JSON text; one with an empty text is omitted. An empty
// name: the text is an object, whose members are inserted.
using Members = std::vector<std::pair<absl::string_view, absl::StatusOr<std::string>>>;
absl::StatusOr<std::string> ObjectOf(const Members& members);

}  // namespace vmeventd::client
