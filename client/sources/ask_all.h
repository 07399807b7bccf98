#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "client/connect/failure.h"
#include "client/output/print_sentence.h"

// Requests to many daemons at once.

namespace vmeventd::client {

// Calls `ask` with each number below `count`, on up to `at_once` threads at the same time. Returns
// when all calls have returned.
inline constexpr size_t kAskedAtOnce = 64;
void AskAll(size_t count, const std::function<void(size_t)>& ask, size_t at_once = kAskedAtOnce);

// Returns the first failure of an unreachable node, or else the first failure, and whether some
// nodes answered. Reports all others to `note`.
std::optional<Failure> ReportFailures(const std::vector<std::optional<Failure>>& failures,
                                      const PrintSentence& note);

}  // namespace vmeventd::client
