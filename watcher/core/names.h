#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace vmeventd {

// One line of UTF-8: a control character, a backslash, and a byte that is not UTF-8 become "\xNN".
std::string OneLine(absl::string_view bytes);

// `bytes` as UTF-8: each byte that is part of no valid sequence becomes `mark` and its two
// hexadecimal digits, "\xNN".
std::string EscapeNonUtf8(absl::string_view bytes, absl::string_view mark = "\\x");

// A file's name as UTF-8: like EscapeNonUtf8(), and a backslash that could be taken for the start
// of such a "\xNN" becomes "\x5c". No two names give the same text.
std::string EscapeName(absl::string_view bytes);

// The longest start of `text`, which is UTF-8, of at most `max_bytes` that cuts no character.
absl::string_view Utf8Prefix(absl::string_view text, size_t max_bytes);

// The source of a run whose monitor's socket was found at `monitor_path`, in a watched directory:
// "qmp:" and that directory.
std::string QmpSourceName(absl::string_view monitor_path);

// Identity of one run of one QEMU process.
struct RunIdentity {
  std::string boot_id;       // /proc/sys/kernel/random/boot_id
  std::string monitor_path;  // two sockets of one process are two runs
  int64_t pid = 0;           // 0: the process cannot be seen, the socket file stands for it
  uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat
  // Used if the process cannot be seen: then only the time of the first sight distinguishes the
  // runs that are found behind one socket, one after another.
  uint64_t socket_inode = 0;
  int64_t first_seen_ns = 0;  // since 1970
};

// The beginning of the ids of all runs under the boot with this id.
std::string RunIdPrefix(absl::string_view boot_id);

// Returns the id of a run. No two runs have the same id. For a process that can be seen, the id is
// the same each time it is computed.
std::string MakeRunId(const RunIdentity& identity);

}  // namespace vmeventd
