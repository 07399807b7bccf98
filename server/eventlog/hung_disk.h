#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace vmeventd {

// The text about a disk that hangs, for people: "the disk does not answer, for 3s now".
inline std::string HungDiskText(absl::Duration hung) {
  return absl::StrCat("the disk does not answer, for ",
                      absl::FormatDuration(absl::Floor(hung, absl::Seconds(1))), " now");
}

}  // namespace vmeventd
