#pragma once

#include <cstdint>
#include <optional>

namespace vmeventd {

// The kernel's numbers for a process that it kills because memory ran out; sizes in KiB. Unset:
// this kernel does not report it.
struct OomVictim {
  std::optional<int64_t> total_vm;
  std::optional<int64_t> anon_rss;
  std::optional<int64_t> oom_score_adj;
};

}  // namespace vmeventd
