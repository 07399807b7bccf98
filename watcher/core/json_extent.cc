#include "watcher/core/json_extent.h"

#include <algorithm>
#include <cstddef>

namespace vmeventd {

JsonExtent MeasureJson(absl::string_view text) {
  JsonExtent extent;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (extent.in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        extent.in_string = false;
      }
    } else if (c == '"') {
      extent.in_string = true;
    } else if (c == '{' || c == '[') {
      extent.depth = std::max(extent.depth, ++extent.open);
      ++extent.values;
    } else if (c == '}' || c == ']') {
      --extent.open;
    } else if (c == ',') {
      ++extent.values;
    }
  }
  return extent;
}

}  // namespace vmeventd
