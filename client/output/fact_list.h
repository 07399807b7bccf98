#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "client/output/painter.h"
#include "client/output/table_layout.h"

namespace vmeventd::client {

// Lines of "name   value", escaped. The values are aligned, and wrapped so that lines have at most
// `limit` columns; 0: no limit. Only the first of several lines with the same name shows the name.
class FactList {
 public:
  explicit FactList(const Painter& painter, size_t width = 14, size_t limit = 0)
      : width_(width), limit_(limit), layout_({{"", width}, {""}}, painter) {}

  void Add(absl::string_view name, absl::string_view value, Color color = Color::kNone);
  std::string Take() { return std::move(text_); }

 private:
  const size_t width_;
  const size_t limit_;
  const ColumnLayout layout_;
  std::string name_;  // name of the last line
  std::string text_;
};

}  // namespace vmeventd::client
