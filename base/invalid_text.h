#ifndef VMEVENTD_BASE_INVALID_TEXT_H_
#define VMEVENTD_BASE_INVALID_TEXT_H_

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/quote.h"

namespace vmeventd {

// INVALID_ARGUMENT: the quoted text, and the rule that it breaks.
inline absl::Status InvalidText(absl::string_view text, absl::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat(Quote(text), " ", rule));
}

}  // namespace vmeventd

#endif  // VMEVENTD_BASE_INVALID_TEXT_H_
