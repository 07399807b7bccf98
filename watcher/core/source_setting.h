#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// The form of a setting of the sources of VMs. Pure.

namespace vmeventd {

struct SourceSpecs;

// One setting of the sources, a row of kSourceSettings (source_specs.h). Its flag, its line in the
// configuration file, and its part of the texts for people are made of the row. A setting with an
// argument is a list, each value of which names something to follow; one without is a switch.
struct SourceSetting {
  const char* name;             // of the flag, without --, and in the configuration file
  const char* argument = "";    // name of a value in --help; empty: a switch
  const char* help;             // sentences, without the default and without the last full stop
  const char* log_prefix = "";  // what the log writes before each value
  // Options of other programs that mean the same, separated by blanks: "--uri --connect".
  const char* foreign_words = "";
  // A sentence about an argument with a slash that no flag takes, if this flag is given: the shell
  // has replaced the pattern in its value. Empty: its values have no pattern.
  const char* replaced_pattern = "";

  // Sets the setting's field of `specs`: to a value for each of `texts`, or, of a switch, by "true"
  // or "false". INVALID_ARGUMENT gives the text and the rule, not the flag.
  absl::Status (*read)(const std::vector<std::string>& texts, SourceSpecs* specs);
  // Returns the text of each value, in order, as `read` accepts it; none for a switch that is off.
  std::vector<std::string> (*print)(const SourceSpecs& specs);

  // Returns the paths in the values that must be directories where they exist. Null: none. The
  // caller looks at the disk, because this module is pure.
  std::vector<std::string> (*directories)(const SourceSpecs& specs) = nullptr;
  // Text to write in place of such a path if it is a socket. Empty: nothing is known.
  const char* instead_of_socket = "";

  // Checks the values of all settings together, once they are read. `real_path` resolves the
  // symbolic links of a path; empty: not known, or the disk does not answer. INVALID_ARGUMENT gives
  // the value and the rule, not the flag. Null: there is nothing to check.
  absl::Status (*check)(const SourceSpecs& specs,
                        std::string (*real_path)(const std::string& path)) = nullptr;

  // The default, which is followed if no setting names anything.
  struct Default {
    const char* name;   // for the log, such as "Ganeti"
    const char* place;  // for other texts, such as "Ganeti's directory"
    const char* vms;    // what is found there, such as "Ganeti's VMs"
    void (*add)(SourceSpecs* specs);
  };
  std::optional<Default> by_default = std::nullopt;  // unset: nothing of this setting

  // Values that texts for people have as examples.
  struct Examples {
    const char* value;
    const char* what;   // what `value` follows
    const char* other;  // another value, which a shell takes without quotes
  };
  std::optional<Examples> examples = std::nullopt;  // unset: no text has an example

  bool is_switch() const { return *argument == '\0'; }
};

// `SourceSetting::read` of a list: replaces `specs` by what `parse` reads from each of the texts.
template <typename Spec>
absl::Status ReadEach(const std::vector<std::string>& texts,
                      absl::StatusOr<Spec> (*parse)(absl::string_view text),
                      std::vector<Spec>* specs) {
  specs->clear();
  for (const std::string& text : texts) {
    absl::StatusOr<Spec> spec = parse(text);
    if (!spec.ok()) return spec.status();
    specs->push_back(*std::move(spec));
  }
  return absl::OkStatus();
}

// Returns one of its texts of each of `specs`, in order.
template <typename Spec>
std::vector<std::string> TextOfEach(const std::vector<Spec>& specs,
                                    std::string (Spec::*text)() const) {
  std::vector<std::string> texts;
  for (const Spec& spec : specs) texts.push_back((spec.*text)());
  return texts;
}

}  // namespace vmeventd
