#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// Cuts a byte stream into lines. QMP ends its lines with \r\n; \n alone is taken as well, and empty
// lines are skipped. A line that begins with "{" and does not end with "}" begins an object that
// QEMU spreads over several lines (pretty=on): all lines up to its closing bracket count as one
// line. Holds memory only while a line is incomplete.
class LineFramer {
 public:
  // Longer lines are an error: QEMU's longest replies stay far below.
  static constexpr size_t kMaxLineBytes = 1 << 20;

  // Calls `on_line` for each line that `bytes` completes, without its line end; the view lives for
  // the call. RESOURCE_EXHAUSTED when a line exceeds kMaxLineBytes, or the status with which
  // `on_line` refused a line; the stream cannot be used after either.
  absl::Status Feed(absl::string_view bytes,
                    const std::function<absl::Status(absl::string_view)>& on_line);

  // The memory that an incomplete line takes; 0 without one.
  size_t held() const { return partial_.text.empty() ? 0 : partial_.text.capacity(); }
  // An incomplete line, as far as it has come, with the line ends that are in it.
  absl::string_view partial() const { return partial_.text; }

 private:
  struct Partial {
    std::string text;
    size_t counted = 0;  // bytes at its start whose brackets are counted: its complete lines
    int open = 0;        // brackets that are open after these
  };

  // Returns the number of brackets that are open after `line`, if it is part of an object that
  // is spread over lines; 0: the line is complete.
  int OpenAfter(absl::string_view line) const;

  Partial partial_;
};

}  // namespace vmeventd
