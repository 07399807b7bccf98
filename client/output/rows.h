#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/output/formatter.h"
#include "client/output/table_layout.h"
#include "vmeventd/v1/vm_events.pb.h"

// Parts that the lists of a Formatter share. Only for the Formatter's own files.

namespace vmeventd::client {

// The end in one line; in a wide table with its evidence.
std::string EndLine(const v1::ShutdownDetail& shutdown, absl::string_view message, bool wide);

Cell ClassCell(const v1::ShutdownDetail& shutdown);

// "-" for an empty text.
inline std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

template <typename List, typename NameOf, typename JsonOf, typename MakeRow>
absl::StatusOr<std::string> Formatter::FormatList(const List& list, const NameOf& name_of,
                                                  const JsonOf& json_of, const MakeRow& make_row,
                                                  std::optional<ColumnLayout>* layout) {
  using One = std::decay_t<decltype(*list.begin())>;
  std::string lines;
  if (form_ != Form::kTable) {
    for (const One& one : list) {
      auto line = form_ == Form::kName ? Line(name_of(one), "") : Line("", json_of(one));
      if (!line.ok()) return line;
      lines += *line;
    }
    return lines;
  }
  std::optional<ColumnLayout> own;
  if (layout == nullptr) layout = &own;
  std::vector<Row> rows;
  rows.reserve(static_cast<size_t>(list.size()));
  for (const One& one : list) rows.push_back(make_row(one));
  if (!layout->has_value()) {
    layout->emplace(make_row(One()).columns, painter_);
    for (const Row& row : rows) (*layout)->Fit(row.cells);
    const bool apart = std::exchange(shown_, true);
    if (style_.headings) {
      lines = absl::StrCat(apart ? "\n" : "", (*layout)->Heading(LineLimit()));
    }
  }
  for (const Row& row : rows) lines += (*layout)->Line(row.cells, LineLimit());
  return lines;
}

}  // namespace vmeventd::client
