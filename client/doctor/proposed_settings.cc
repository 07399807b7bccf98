#include "client/doctor/proposed_settings.h"

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/doctor/file_text.h"

namespace vmeventd::client {

bool ProposedSettings::Has(const SourceSetting& setting, absl::string_view value) const {
  const auto found = values_.find(&setting);
  return found != values_.end() && absl::c_linear_search(found->second.kept, value);
}

bool ProposedSettings::Needs(const SourceSetting& setting, absl::string_view value) const {
  const auto found = values_.find(&setting);
  return found != values_.end() && found->second.needed.contains(std::string(value));
}

void ProposedSettings::Keep(const SourceSetting& setting, absl::string_view value) {
  if (!Has(setting, value)) values_[&setting].kept.emplace_back(value);
}

void ProposedSettings::Need(const SourceSetting& setting, absl::string_view value) {
  values_[&setting].needed.emplace(value);
}

std::string ProposedSettings::Lines() const {
  const auto quote = [](std::string* out, const std::string& value) {
    *out += QuoteForFile(value);
  };
  std::vector<std::string> lines;
  for (const SourceSetting* const setting : settings_) {
    const auto found = values_.find(setting);
    if (found == values_.end()) continue;
    const auto& [kept, needed] = found->second;
    std::vector<std::string> values = kept;
    for (const std::string& value : needed) {
      if (!absl::c_linear_search(kept, value)) values.push_back(value);
    }
    lines.push_back(absl::StrCat(setting->name, " = [", absl::StrJoin(values, ", ", quote), "]"));
  }
  return absl::StrJoin(lines, "\n");
}

}  // namespace vmeventd::client
