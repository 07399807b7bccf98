#pragma once

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/small_file.h"

namespace vmeventd {

// Returns whether a signal such as SIGSTOP has stopped `pid`. False if its state cannot be read.
inline bool IsStopped(int64_t pid) {
  const absl::StatusOr<std::string> stat = ReadSmallFile(absl::StrCat("/proc/", pid, "/stat"));
  if (!stat.ok()) return false;
  absl::string_view state = absl::string_view(*stat).substr(stat->rfind(')') + 1);
  return absl::ConsumePrefix(&state, " T");
}

}  // namespace vmeventd
