#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "absl/time/time.h"
#include "client/output/invocation.h"

namespace vmeventd::client {

// The style in which a Formatter shows messages.
struct TableStyle {
  bool color = false;
  absl::TimeZone zone;
  bool headings = true;
  // Adds a column NODE, because messages of several nodes are mixed. From the second cluster on it
  // shows CLUSTER/NODE.
  bool nodes = false;
  bool wide = false;        // adds columns, and does not limit the lines' width
  bool markdown = false;    // for `why`: writes Markdown
  Invocation invocation;    // for the commands to paste
  bool node_events = true;  // JSON also has events of the whole node: GAPs
  bool texts = false;       // JSON also has the table's texts: for `why`, and see ToJsonWithTexts()
                            // (json_with_texts.h)
  // The terminal's width in columns; longer rows are cut. 0: no limit.
  size_t width = 0;
  bool brief = false;  // a time of this year is shown without the year
  // The names are candidates for a word that a shell completes: omits names that cannot be typed as
  // an argument, because they have escaped characters or look like an option.
  bool completes = false;
  std::string before;  // not empty: each name is followed by a line with this text and the name
  // The clock. Null: no ages are shown, and every time has its year.
  std::function<absl::Time()> now;
  bool is_brief() const { return brief && now && !wide; }
};

}  // namespace vmeventd::client
