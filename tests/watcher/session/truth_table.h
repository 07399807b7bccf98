#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "watcher/session/evidence.h"

// The verdicts of the rules on each combination of evidence, tests/golden/classification.txt.

namespace vmeventd::truth_table {

inline constexpr absl::Duration kWindow = absl::Minutes(10);  // for a POWERDOWN

// One value of one kind of evidence, and its name in the table.
struct Value {
  std::string name;
  std::function<void(Evidence*)> set;
};
using Dimension = std::vector<Value>;

// The reason of the SHUTDOWN, or none.
Dimension Reasons();
// The end of the process: its exit code or signal, or none.
Dimension Exits();
// The circumstances of a SHUTDOWN: a POWERDOWN, the monitor, Exits().
std::vector<Dimension> OtherDimensions();
// The life of the VM: whether it was seen running, and whether it was migrating.
Dimension Lives();

// Calls `visit` with each combination of one value of each dimension, as indexes.
void ForEachChoice(const std::vector<Dimension>& dimensions,
                   const std::function<void(const std::vector<size_t>&)>& visit);

// The table: each combination has a line; evidence that does not matter for a reason is left out of
// its lines.
std::string Text();

}  // namespace vmeventd::truth_table
