#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

// Coloured rows with aligned columns, for a terminal. Pure.

namespace vmeventd::client {

enum class Color { kNone, kBold, kDim, kRed, kGreen, kYellow, kBlue, kCyan };

// Wraps text in colour, or returns it unchanged if colour is off.
class Painter {
 public:
  explicit Painter(bool enabled) : enabled_(enabled) {}
  std::string Paint(absl::string_view text, Color color) const;

 private:
  bool enabled_;
};

struct Cell {
  std::string text;  // already escaped
  Color color = Color::kNone;
};

// Lays out rows with the same columns.
class ColumnLayout {
 public:
  // A column is at least as wide as its heading and its `min_width`. Fit() widens it to at most
  // `max_width`.
  struct Column {
    std::string heading;
    size_t min_width = 0;
    size_t max_width = SIZE_MAX;
    bool cut_middle = false;
  };
  ColumnLayout(std::vector<Column> columns, const Painter& painter);

  // Widens the columns for `row`; call it for every row of a batch before formatting the first.
  void Fit(const std::vector<Cell>& row);
  // A line with its newline, without trailing blanks. `row` has one cell for each column. With a
  // `width`, texts are cut to the width of their columns (except in the last column), and at the
  // end of the line. `width` 0: nothing is cut, and a wide text shifts the rest of its row.
  std::string Line(const std::vector<Cell>& row, size_t width = 0) const;
  // The line of the headings; empty if no column has one.
  std::string Heading(size_t width = 0) const;

 private:
  Painter painter_;
  std::vector<Column> columns_;
};

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
