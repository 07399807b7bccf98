#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "client/connect/probe.h"
#include "client/connect/server_address.h"
#include "client/doctor/node_facts.h"
#include "client/output/formatter.h"

// Finds the faults of a node from the facts that were read there. Pure.

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

struct Diagnosis {
  std::string asked;      // the daemon that was asked, and whether it answered
  bool examined = false;  // see NodeFacts
  size_t qemus = 0;
  size_t followed = 0;
  size_t followed_elsewhere = 0;  // followed by a vmeventd other than the one that was asked
  size_t usable = 0;              // not followed, but with a monitor that vmeventd may use
  std::vector<Finding> findings;
  // Hints, for people, by which vmeventd would see more of VMs that it already follows. They do not
  // make the command fail.
  std::vector<Finding> hints;
};

// Texts may hold any bytes.
Diagnosis Diagnose(const NodeFacts& facts);

// The diagnosis if the daemon does not answer. `why` is a sentence, `probe` is the result for its
// address, `client`: see NodeFacts.
Diagnosis DiagnoseSilence(const ServerAddress& server, const std::string& why,
                          const ProbeResult& probe, const std::string& client);

// The findings and a summary, for people. Wrapped to `width` columns, except the lines to paste.
std::string DiagnosisText(const Diagnosis& diagnosis, size_t width, bool color);
// The findings, for programs: one JSON object for each finding, or one subject, on each line.
std::string DiagnosisLines(const Diagnosis& diagnosis, Form form);

}  // namespace vmeventd::client
