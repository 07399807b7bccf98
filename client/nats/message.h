#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace vmeventd::client {

// A message, to send or received.
struct NatsMessage {
  std::string subject = {};
  std::string reply = {};  // subject for the answer; empty: no answer is wanted
  std::string data = {};
  std::vector<std::pair<std::string, std::string>> headers = {};

  // Returns a header's value; empty: there is no such header. The server's own messages have
  // "Status", such as "404", and "Description". Ignores the case of `name`.
  std::string header(absl::string_view name) const {
    for (const auto& [known, value] : headers) {
      if (absl::EqualsIgnoreCase(known, name)) return value;
    }
    return "";
  }
};

}  // namespace vmeventd::client
