#pragma once

#include <utility>

#include "client/output/formatter.h"
#include "client/output/table_style.h"

// A Formatter of each form.

namespace vmeventd::client {

struct TableFormatter : Formatter {
  explicit TableFormatter(TableStyle style) : Formatter(Form::kTable, std::move(style)) {}
};
struct JsonFormatter : Formatter {
  JsonFormatter() : Formatter(Form::kJson) {}
};
struct NameFormatter : Formatter {
  NameFormatter() : Formatter(Form::kName) {}
};

}  // namespace vmeventd::client
