#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "tests/support/files.h"

namespace vmeventd {

// Returns the health services that docs/monitoring.md lists. "" is the daemon as a whole.
inline std::set<std::string> DocumentedServices() {
  const std::string document = e2e::ReadFile(VMEVENTD_SOURCE_DIR "/docs/monitoring.md");
  const size_t begin = document.find("\n## Health\n");
  const std::string section = document.substr(begin, document.find("\n## Alerts\n") - begin);
  std::set<std::string> services;
  for (const absl::string_view line : absl::StrSplit(section, '\n')) {
    if (!absl::StartsWith(line, "| `")) continue;
    const absl::string_view names = line.substr(2, line.rfind("` | ") - 2);
    for (const absl::string_view name : absl::StrSplit(names, "`, ")) {
      const std::string service(name.substr(1));
      services.insert(service == "\"\"" ? "" : service);
    }
  }
  return services;
}

}  // namespace vmeventd
