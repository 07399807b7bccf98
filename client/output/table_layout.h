#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "client/output/painter.h"

// Rows with aligned columns, for a terminal. Pure.

namespace vmeventd::client {

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

}  // namespace vmeventd::client
