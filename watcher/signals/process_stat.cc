#include "watcher/signals/process_stat.h"

#include <cstddef>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace vmeventd {

std::optional<ProcessStat> ParseProcessStat(absl::string_view text) {
  const size_t begin = text.find('(');
  const size_t end = text.rfind(')');
  if (end == absl::string_view::npos || end < begin) return std::nullopt;
  ProcessStat stat;
  stat.name = std::string(text.substr(begin + 1, end - begin - 1));
  const std::vector<absl::string_view> fields =
      absl::StrSplit(text.substr(end + 1), absl::ByAnyChar(" \n"), absl::SkipEmpty());
  // By the number that proc(5) gives the field; the third one is the first after the name.
  const auto read = [&fields](size_t field, auto* number) {
    return field - 3 < fields.size() && absl::SimpleAtoi(fields[field - 3], number);
  };
  if (!absl::SimpleAtoi(text.substr(0, begin), &stat.pid) || !read(4, &stat.parent) ||
      !read(6, &stat.session) || !read(9, &stat.flags) || !read(22, &stat.start_ticks)) {
    return std::nullopt;
  }
  stat.state = fields[0][0];
  if (int code = 0; read(52, &code)) stat.exit_code = code;
  return stat;
}

}  // namespace vmeventd
