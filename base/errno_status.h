#ifndef VMEVENTD_BASE_ERRNO_STATUS_H_
#define VMEVENTD_BASE_ERRNO_STATUS_H_

#include <string>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {

inline std::string ErrnoText(int error) { return std::generic_category().message(error); }

// "OBJECT: what: the errno in words".
inline absl::Status ErrnoStatus(const std::string& object, const std::string& what, int error) {
  return absl::Status(absl::ErrnoToStatusCode(error),
                      absl::StrCat(object, ": ", what, ": ", ErrnoText(error)));
}

}  // namespace vmeventd

#endif  // VMEVENTD_BASE_ERRNO_STATUS_H_
