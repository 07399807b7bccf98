#ifndef VMEVENTD_BASE_QUOTE_H_
#define VMEVENTD_BASE_QUOTE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace vmeventd {

// A value that came from outside, for a message: in quotes, on one line, in ASCII, and cut where it
// is long. A status travels in a header, whose size is limited.
std::string Quote(absl::string_view value);

}  // namespace vmeventd

#endif  // VMEVENTD_BASE_QUOTE_H_
