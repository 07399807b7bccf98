#ifndef VMEVENTD_CLIENT_DOCTOR_DOCTOR_H_
#define VMEVENTD_CLIENT_DOCTOR_DOCTOR_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/doctor/diagnosis.h"
#include "watcher/core/watch_spec.h"

namespace vmeventd::client {

// The --watch flags of a daemon that does not answer, as its configuration file has them. Empty
// text, or none there: the daemon's default. INVALID_ARGUMENT: it is no such file.
absl::StatusOr<std::vector<WatchSpec>> WatchesOfConfiguration(const std::string& content);

// Reads this node, whose daemon gave `daemon`. Without an answer the watches are `configured`.
// Connects to no socket. Where somebody waits at a socket it looks again after `kSecondLook`, by
// `wait`. An error names what could not be read.
constexpr absl::Duration kSecondLook = absl::Seconds(1);
absl::StatusOr<NodeFacts> ReadNode(DaemonAnswer daemon, const std::vector<WatchSpec>& configured,
                                   const std::function<void(absl::Duration)>& wait);

// The findings for people, wrapped to `width` columns but for the lines to paste, and a summary.
std::string DiagnosisText(const Diagnosis& diagnosis, size_t width, bool color);
// For programs: one JSON object for each finding.
std::vector<std::string> DiagnosisJson(const Diagnosis& diagnosis);
// One subject a line.
std::string DiagnosisNames(const Diagnosis& diagnosis);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_DOCTOR_DOCTOR_H_
