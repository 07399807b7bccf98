// vmeventd with other values of what no flag sets, for tests and measurements:
//
//   vmeventd_tuned [NAME=VALUE...] FLAGS...
//
// event-limits=off: every event of a VM is published. list-rate=: a second.

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "server/daemon.h"

int main(int argc, char** argv) {
  vmeventd::Tuning tuning;
  int next = 1;
  for (; next < argc && !absl::StartsWith(argv[next], "-"); ++next) {
    const std::pair<std::string, std::string> pair =
        absl::StrSplit(argv[next], absl::MaxSplits('=', 1));
    const auto& [name, value] = pair;
    double number = 0;
    if (name == "event-limits" && value == "off") {
      tuning.event_limits = false;
    } else if (!absl::SimpleAtod(value, &number)) {
      std::cerr << "vmeventd_tuned: " << argv[next] << " is not NAME=NUMBER\n";
      return EXIT_FAILURE;
    } else if (name == "list-rate") {
      tuning.list_rate = number;
    } else {
      std::cerr << "vmeventd_tuned: there is no " << name << "\n";
      return EXIT_FAILURE;
    }
  }
  return vmeventd::RunProgram({argv + next, argv + argc}, tuning);
}
