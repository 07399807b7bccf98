#pragma once

#include <string>
#include <vector>

namespace vmeventd::client {

// Place to paste a line that fixes a finding: a shell, the daemon's configuration file, QEMU's
// command line, the manager's configuration, or the command that starts the container.
enum class Place { kShell, kConfiguration, kQemu, kManager, kContainer };

// A line to paste. For kConfiguration these may be two lines, which replace the settings of the
// same names.
struct Step {
  Place place = Place::kShell;
  std::string line;

  bool operator==(const Step&) const = default;
};

struct Finding {
  std::string kind;                   // one of the words of vmevents(1), for programs
  std::vector<std::string> subjects;  // at least one; all have the same cause
  std::string what;                   // sentences
  std::vector<Step> steps;            // to do in this order; empty: nothing helps
  std::string words = {};             // the words of all subjects, for a line of the shell
  std::vector<std::string> vms = {};  // names of the subjects that are VMs

  // The lines of all steps.
  std::string line() const;
};

}  // namespace vmeventd::client
