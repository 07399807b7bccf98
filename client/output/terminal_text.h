#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

// Text for a terminal: makes foreign text harmless, aligns columns, adds colour. Pure.

namespace vmeventd::client {

// `text` with everything that could control or deceive a terminal replaced by a visible escape:
// control characters and bytes that are not UTF-8 as \xNN; C1 controls, bidirectional controls and
// other invisible characters as \uNNNN or \UNNNNNNNN. The result is one line of valid UTF-8.
std::string EscapeForTerminal(absl::string_view text);

// The columns that `text` takes on a terminal; a character of unknown width takes one. `text`
// contains no escape sequence.
size_t DisplayWidth(absl::string_view text);

// Breaks `text` at blanks into lines of at most `width` columns, at least one line. A word that is
// wider has a line of its own.
std::vector<std::string> WrapText(absl::string_view text, size_t width);

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

// Lays out rows with the same columns. Columns only grow, so that rows printed over time stay
// aligned with earlier ones as far as possible.
class ColumnLayout {
 public:
  // A column is at least as wide as its heading and its `min_width`. Fit() widens it to at most
  // `max_width`; a wider text moves only the rest of its own row.
  struct Column {
    std::string heading;
    size_t min_width = 0;
    size_t max_width = SIZE_MAX;
  };
  ColumnLayout(std::vector<Column> columns, const Painter& painter);

  // Widens the columns for `row`; call it for every row of a batch before formatting the first.
  void Fit(const std::vector<Cell>& row);
  // A line with its newline, without trailing blanks. `row` has one cell per column.
  std::string Line(const std::vector<Cell>& row) const;
  // Line(), but if the row does not fit `width` columns, the last cell stands below the others,
  // indented and wrapped. 0: every row fits.
  std::string Lines(std::vector<Cell> row, size_t width) const;
  // Fits all rows, and returns their Lines().
  std::string Rows(std::vector<std::vector<Cell>> rows, size_t width);
  std::string Heading() const;

 private:
  Painter painter_;
  std::vector<Column> columns_;
};

// Lines of "name   value", the values aligned.
class FactList {
 public:
  explicit FactList(const Painter& painter, size_t width = 14)
      : layout_({{"", width}, {"", 0}}, painter) {}

  void Add(const char* name, std::string value, Color color = Color::kNone) {
    if (value.empty()) return;
    text_ += layout_.Line({{name, Color::kDim}, {std::move(value), color}});
  }
  std::string Take() { return std::move(text_); }

 private:
  ColumnLayout layout_;
  std::string text_;
};

}  // namespace vmeventd::client
