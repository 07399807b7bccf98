#ifndef VMEVENTD_WATCHER_CORE_LINE_FRAMER_H_
#define VMEVENTD_WATCHER_CORE_LINE_FRAMER_H_

#include <cstddef>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// Cuts a byte stream into lines. QMP ends its lines with \r\n; \n alone is taken as well, and
// empty lines are skipped. Holds memory only while a line is incomplete.
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
  size_t held() const { return partial_.empty() ? 0 : partial_.capacity(); }
  // An incomplete line, as far as it has come.
  absl::string_view partial() const { return partial_; }

 private:
  std::string partial_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_CORE_LINE_FRAMER_H_
