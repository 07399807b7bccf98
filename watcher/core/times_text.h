#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace vmeventd {

// "2026-11-28 21:12:38 and 21:12:53 UTC" with the word "and" in between.
std::string TimesText(absl::Time from, absl::string_view word, absl::Time to);

}  // namespace vmeventd
