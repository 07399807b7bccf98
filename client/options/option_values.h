#ifndef VMEVENTD_CLIENT_OPTIONS_OPTION_VALUES_H_
#define VMEVENTD_CLIENT_OPTIONS_OPTION_VALUES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/commands/watch_cursor.h"
#include "vmeventd/v1/vm_events.pb.h"

// Parses the text of one option. Pure. INVALID_ARGUMENT names the option, the fault and the correct
// form.

namespace vmeventd::client {

// --from and --journal; both empty where not given.
absl::StatusOr<WatchStart> ParseWatchStart(const std::string& from, const std::string& journal,
                                           absl::Time now, absl::TimeZone zone);

// A whole number of at least 1; none if the option was not `given`.
absl::StatusOr<std::optional<uint64_t>> ParseCount(absl::string_view option, bool given,
                                                   absl::string_view text);

absl::StatusOr<std::optional<absl::Time>> ParseTimeOption(absl::string_view option, bool given,
                                                          absl::string_view text, absl::Time now,
                                                          absl::TimeZone zone);

// What --vm, --type, --class, --cause, --source, --uuid, --run and --label say. Sources and labels
// apart, a text may
// list several values, separated by commas.
struct FilterTexts {
  std::vector<std::string> vms;
  std::vector<std::string> types;
  std::vector<std::string> classes;
  std::vector<std::string> causes;
  std::vector<std::string> sources;
  std::vector<std::string> uuids;
  std::vector<std::string> runs;
  std::vector<std::string> labels;  // selectors
};
absl::StatusOr<v1::EventFilter> ParseFilter(const FilterTexts& texts);

absl::StatusOr<std::vector<v1::VmState>> ParseStates(const std::vector<std::string>& states);

// Checks a text that is sent to the server: not empty, and UTF-8, as the protocol requires.
absl::Status CheckText(absl::string_view option, absl::string_view text);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OPTIONS_OPTION_VALUES_H_
