#include "client/output/table_layout.h"

#include <algorithm>
#include <utility>

#include "client/output/painter.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

ColumnLayout::ColumnLayout(std::vector<Column> columns, const Painter& painter)
    : painter_(painter), columns_(std::move(columns)) {
  for (Column& column : columns_) {
    column.min_width = std::max(column.min_width, DisplayWidth(column.heading));
  }
}

void ColumnLayout::Fit(const std::vector<Cell>& row) {
  for (size_t i = 0; i < row.size(); ++i) {
    const size_t wanted = std::min(DisplayWidth(row[i].text), columns_[i].max_width);
    columns_[i].min_width = std::max(columns_[i].min_width, wanted);
  }
}

std::string ColumnLayout::Line(const std::vector<Cell>& row, size_t width) const {
  std::string line;
  size_t used = 0;
  size_t owed = 0;  // blanks, written only if more text follows
  for (size_t i = 0; i < row.size(); ++i) {
    const bool last = i + 1 == row.size();
    const size_t left = width - std::min(width, used + owed);
    const size_t room = width == 0 ? SIZE_MAX : last ? left : std::min(left, columns_[i].min_width);
    const std::string text = CutText(row[i].text, room, columns_[i].cut_middle);
    const size_t columns = DisplayWidth(text);
    if (columns > 0) {
      line.append(owed, ' ');
      line += painter_.Paint(text, row[i].color);
      used += owed + columns;
      owed = 0;
    }
    owed += std::max(columns_[i].min_width, columns) - columns + 2;
  }
  line += '\n';
  return line;
}

std::string ColumnLayout::Heading(size_t width) const {
  std::vector<Cell> row;
  for (const Column& column : columns_) row.push_back({column.heading, Color::kBold});
  const bool named = std::any_of(columns_.begin(), columns_.end(),
                                 [](const Column& column) { return !column.heading.empty(); });
  return named ? Line(row, width) : "";
}

}  // namespace vmeventd::client
