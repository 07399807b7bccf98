#pragma once

#include <string>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {

// The errno in words.
inline std::string ErrnoText(int error) { return std::generic_category().message(error); }

// "OBJECT: what: the errno in words".
inline absl::Status ErrnoStatus(const std::string& object, const std::string& what, int error) {
  return absl::Status(absl::ErrnoToStatusCode(error),
                      absl::StrCat(object, ": ", what, ": ", ErrnoText(error)));
}

}  // namespace vmeventd
