#include "watcher/core/run_id.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace vmeventd {
namespace {

// FNV-1a, 64 bits: the same in every build and version.
uint64_t StableHash(absl::string_view text) {
  uint64_t hash = 14695981039346656037U;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  }
  return hash;
}

}  // namespace

std::string RunIdPrefix(absl::string_view boot_id) {
  return absl::StrCat(absl::StrReplaceAll(boot_id, {{"-", ""}}).substr(0, 16), "-");
}

std::string MakeRunId(const RunIdentity& identity) {
  const std::string boot = RunIdPrefix(identity.boot_id);
  const uint64_t path = StableHash(identity.monitor_path);
  if (identity.pid != 0) {
    return absl::StrFormat("%s%d-%d-%016x", boot, identity.pid, identity.start_ticks, path);
  }
  return absl::StrFormat("%ss%d-%d-%016x", boot, identity.socket_inode, identity.first_seen_ns,
                         path);
}

}  // namespace vmeventd
