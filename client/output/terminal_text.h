#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

// Text for a terminal: makes foreign text harmless, aligns columns, adds colour. Pure.

namespace vmeventd::client {

// `text` with everything that could control or deceive a terminal replaced by a visible escape:
// control characters and bytes that are not UTF-8 as \xNN; C1 controls, bidirectional controls and
// other invisible characters as \uNNNN or \UNNNNNNNN. The result is one line of valid UTF-8.
std::string EscapeForTerminal(absl::string_view text);

// The number of columns that `text` takes on a terminal; a character of unknown width takes one.
// `text` must not contain escape sequences.
size_t DisplayWidth(absl::string_view text);

// Cuts `text` to `width` columns. A cut text ends with "…", or has "…" in the `middle`, for names,
// which may differ only at their ends.
std::string CutText(absl::string_view text, size_t width, bool middle = false);

// The word, quoted for a shell: one line that EscapeForTerminal() does not change. A word with
// characters that it would escape is quoted as $'...', with \n, \t, \xNN, \\ and \': bash, zsh and
// ksh know that, and so does POSIX since 2024. A NUL, which no argument can have, ends the word
// there.
std::string QuoteForShell(absl::string_view word);

// "1 QEMU", "2 QEMUs".
template <typename Number>
std::string Count(Number count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

// Breaks `text` at blanks into lines of at most `width` columns; returns at least one line. A wider
// word gets its own line.
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
