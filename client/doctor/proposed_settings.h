#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "watcher/core/source_specs.h"

// The settings of vmeventd's configuration file that name what it follows, as the doctor proposes
// them. Pure.

namespace vmeventd::client {

// The values of these settings: those to keep (in use now), and those that findings add. All values
// of a setting go into one line, because a setting replaces vmeventd's defaults and all values that
// the file has for it. Values may hold any bytes. One thread.
class ProposedSettings {
 public:
  // `settings`: all rows, in the order of their lines; they must outlive it. Only lists of them may
  // have values.
  explicit ProposedSettings(SourceSettings settings = kSourceSettings) : settings_(settings) {}

  // Returns whether the value is among those to keep.
  bool Has(const SourceSetting& setting, absl::string_view value) const;
  // Returns whether a finding adds the value.
  bool Needs(const SourceSetting& setting, absl::string_view value) const;
  void Keep(const SourceSetting& setting, absl::string_view value);
  void Need(const SourceSetting& setting, absl::string_view value);

  // The file's lines: one for each setting with a value, without a final newline.
  std::string Lines() const;

 private:
  struct Values {
    std::vector<std::string> kept;
    std::set<std::string> needed;
  };

  SourceSettings settings_;
  std::map<const SourceSetting*, Values> values_;  // by row; without one: no values
};

}  // namespace vmeventd::client
