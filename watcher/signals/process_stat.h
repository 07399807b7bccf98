#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace vmeventd {

// The stat file of a process or a thread in /proc.
struct ProcessStat {
  int64_t pid = 0;
  std::string name;  // name of the command; may contain any bytes
  char state = 0;    // as proc(5) has them
  int64_t parent = 0;
  int64_t session = 0;
  uint32_t flags = 0;
  uint64_t start_ticks = 0;
  std::optional<int> exit_code;  // as wait(2) encodes it; also 0 if the reader may not see it

  bool ended() const { return state == 'Z' || state == 'X'; }
  bool leads_session() const { return session == pid; }
};
// Parses the text of such a file; unset: it is malformed.
std::optional<ProcessStat> ParseProcessStat(absl::string_view text);

}  // namespace vmeventd
