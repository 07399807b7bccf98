#pragma once

#include "absl/strings/string_view.h"

// Measures JSON text before anything is built from it, so that a text that is too large can be
// refused. Pure.

namespace vmeventd {

struct JsonExtent {
  int depth = 0;           // the deepest nesting
  int values = 0;          // lower bound: each opens something or stands before a comma
  int open = 0;            // brackets that it opens and does not close; negative: closes more
  bool in_string = false;  // it ends within a string
};

// Returns the extent of `text`, which may be any text.
JsonExtent MeasureJson(absl::string_view text);

}  // namespace vmeventd
