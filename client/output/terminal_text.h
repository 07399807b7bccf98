#ifndef VMEVENTD_CLIENT_OUTPUT_TERMINAL_TEXT_H_
#define VMEVENTD_CLIENT_OUTPUT_TERMINAL_TEXT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

// Text on a terminal: what comes from elsewhere is made harmless, columns are aligned, colour is
// added. Pure.

namespace vmeventd::client {

// `text` with everything that could drive or deceive a terminal replaced by a visible escape:
// control characters and bytes that are not UTF-8 as \xNN, C1 controls, bidirectional controls and
// other invisible characters as \uNNNN or \UNNNNNNNN. The result is one line of valid UTF-8.
std::string EscapeForTerminal(absl::string_view text);

// Whether `text` is well-formed UTF-8 (no overlong form, no surrogate).
bool IsValidUtf8(absl::string_view text);

// Columns that `text` takes on a terminal, counted in characters. `text` holds no escape sequence.
size_t DisplayWidth(absl::string_view text);

enum class Color { kNone, kBold, kDim, kRed, kGreen, kYellow, kBlue, kCyan };

// Wraps text in colour, or leaves it alone where colour is off.
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

// Lays out rows of the same columns. Columns only grow, so that rows which come over time stay
// aligned with those before as far as that is possible.
class ColumnLayout {
 public:
  // Each column is at least as wide as its heading and its `min_width`.
  struct Column {
    std::string heading;
    size_t min_width = 0;
  };
  ColumnLayout(std::vector<Column> columns, const Painter& painter);

  // Makes room for `row`; called for every row of a batch before the first is formatted.
  void Fit(const std::vector<Cell>& row);
  // One line with its newline and without trailing blanks. `row` has one cell a column.
  std::string Line(const std::vector<Cell>& row) const;
  std::string Heading() const;

 private:
  Painter painter_;
  std::vector<Column> columns_;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OUTPUT_TERMINAL_TEXT_H_
