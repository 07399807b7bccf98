#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/config/config.h"
#include "watcher/core/source_setting.h"

namespace vmeventd {

// One row of the table of flags, the only place that knows a flag: --help, the configuration file
// and --check-config are generated from it, the shells' completions read --help, and a test
// compares the manual page and the example configuration with it. Defaults are those of Config.
struct Flag {
  enum class Kind { kText, kNumber, kSwitch };  // its form in a configuration file

  std::string name;      // without --
  std::string argument;  // name of its value in --help; empty: a switch
  std::string help;      // sentences, without the default
  Kind kind = Kind::kText;
  bool repeatable = false;

  // Sets the field in `config`. `texts` is not empty; it has one element if the flag is not
  // repeatable. INVALID_ARGUMENT gives the value and the rule, not the flag.
  std::function<absl::Status(const std::vector<std::string>& texts, Config* config)> read;
  // Returns the field's texts, as `read` accepts them; empty: no value.
  std::function<std::vector<std::string>(const Config&)> print;
};

// Returns the flag of a setting of the sources. It refuses a value that is given twice, and a file
// where a directory must be. `setting` outlives the flag.
Flag FlagOf(const SourceSetting& setting);

// All flags, in the order of --help: first those of kSourceSettings.
const std::vector<Flag>& Flags();

// The value as a configuration file writes it; empty if `config` has none.
std::string ConfigFileValue(const Flag& flag, const Config& config);

}  // namespace vmeventd
