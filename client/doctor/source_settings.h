#pragma once

#include <initializer_list>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

// The settings of vmeventd's configuration file that name what it follows. Pure.

namespace vmeventd::client {

inline constexpr absl::string_view kWatchSetting = "watch";
inline constexpr absl::string_view kLibvirtSetting = "libvirt";

// The values of these settings, by a setting's name: those to keep (in use now), and those that
// findings add. All values of a setting go into one line, because a setting replaces vmeventd's
// defaults and all values that the file has for it. Values may hold any bytes. One thread.
class SourceSettings {
 public:
  // `names`: the settings in the order of their lines. Others may be used, and follow.
  SourceSettings(std::initializer_list<absl::string_view> names);

  // Returns whether a value is kept.
  bool Has(absl::string_view name, absl::string_view value) const;
  // Returns whether a finding adds the value.
  bool Needs(absl::string_view name, absl::string_view value) const;
  void Keep(absl::string_view name, absl::string_view value);
  void Need(absl::string_view name, absl::string_view value);

  // The file's lines: one for each setting with a value, without a final newline.
  std::string Lines() const;

 private:
  struct Setting {
    std::string name;
    std::vector<std::string> kept;
    std::set<std::string> needed;
  };

  const Setting* Find(absl::string_view name) const;
  Setting& At(absl::string_view name);

  std::vector<Setting> settings_;
};

}  // namespace vmeventd::client
