#pragma once

#include <string>

#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace vmeventd::client {

// Each byte that is not `plain` becomes the escape and two hexadecimal digits.
template <typename IsPlain>
std::string EscapeBytes(absl::string_view text, char escape, const IsPlain& is_plain) {
  std::string out;
  for (const char byte : text) {
    if (is_plain(byte)) {
      out.push_back(byte);
    } else {
      absl::StrAppendFormat(&out, "%c%02X", escape, static_cast<unsigned char>(byte));
    }
  }
  return out;
}

}  // namespace vmeventd::client
