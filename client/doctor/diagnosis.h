#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "client/doctor/node_facts.h"
#include "client/output/formatter.h"

// Faults of a node, as the facts that were read there show them. Pure.

namespace vmeventd::client {

// Destination of a line that fixes a finding.
enum class Place { kShell, kConfiguration, kQemu, kManager, kContainer };

// A line to paste. A configuration's may have two lines, which replace the lines of those names.
struct Step {
  Place place = Place::kShell;
  std::string line;

  bool operator==(const Step&) const = default;
};

struct Finding {
  std::string kind;                   // one of the words of vmevents(1), for programs
  std::vector<std::string> subjects;  // at least one: all that have the same cause
  std::string what;                   // sentences
  std::vector<Step> steps;            // in this order; none: nothing helps
  std::string words = {};             // in a line for the shell, of all subjects
  std::vector<std::string> vms = {};  // names of the subjects that are VMs

  // All lines.
  std::string line() const;
};

struct Diagnosis {
  std::string asked;      // the daemon that was asked, and whether it answered
  bool examined = false;  // see NodeFacts
  size_t qemus = 0;
  size_t followed = 0;
  size_t followed_elsewhere = 0;  // by another vmeventd than the one that was asked
  size_t usable = 0;              // not followed, with a monitor that vmeventd may take
  std::vector<Finding> findings;
  // For people: what would have vmeventd see more of VMs that it follows well. They make no
  // failure.
  std::vector<Finding> hints;
};

// Texts may hold any bytes.
Diagnosis Diagnose(const NodeFacts& facts);

// The diagnosis where the daemon gives no answer. `why` is a sentence, `probe` that of its address,
// `client`: see NodeFacts.
Diagnosis DiagnoseSilence(const ServerAddress& server, const std::string& why,
                          const ProbeResult& probe, const std::string& client);

// The findings for people, wrapped to `width` columns but for the lines to paste, and a summary.
std::string DiagnosisText(const Diagnosis& diagnosis, size_t width, bool color);
// For programs: a JSON object a line for each finding, or a subject a line.
std::string DiagnosisLines(const Diagnosis& diagnosis, Form form);

}  // namespace vmeventd::client
