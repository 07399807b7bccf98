// Any command line of a process that calls itself QEMU is read.

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "watcher/core/qemu_arguments.h"
#include "watcher/core/qemu_program.h"

void Fuzz_qemu_arguments(absl::string_view input) {
  const std::vector<std::string> arguments = absl::StrSplit(input, '\0');
  vmeventd::IsQemu(arguments);
  for (const vmeventd::QmpMonitor& monitor : vmeventd::ParseQemuArguments(arguments).monitors) {
    // A monitor has a path or a descriptor, never both.
    if (!monitor.path.empty() && monitor.descriptor != -1) std::abort();
  }
}
