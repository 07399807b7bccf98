#include "client/doctor/source_settings.h"

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/doctor/settings.h"

namespace vmeventd::client {

SourceSettings::SourceSettings(std::initializer_list<absl::string_view> names) {
  for (const absl::string_view name : names) At(name);
}

bool SourceSettings::Has(absl::string_view name, absl::string_view value) const {
  const Setting* const setting = Find(name);
  return setting != nullptr && absl::c_linear_search(setting->kept, value);
}

bool SourceSettings::Needs(absl::string_view name, absl::string_view value) const {
  const Setting* const setting = Find(name);
  return setting != nullptr && setting->needed.contains(std::string(value));
}

void SourceSettings::Keep(absl::string_view name, absl::string_view value) {
  if (!Has(name, value)) At(name).kept.emplace_back(value);
}

void SourceSettings::Need(absl::string_view name, absl::string_view value) {
  At(name).needed.emplace(value);
}

std::string SourceSettings::Lines() const {
  const auto quote = [](std::string* out, const std::string& value) {
    *out += QuoteForFile(value);
  };
  std::vector<std::string> lines;
  for (const Setting& setting : settings_) {
    std::vector<std::string> values = setting.kept;
    for (const std::string& value : setting.needed) {
      if (!absl::c_linear_search(setting.kept, value)) values.push_back(value);
    }
    if (values.empty()) continue;
    lines.push_back(absl::StrCat(setting.name, " = [", absl::StrJoin(values, ", ", quote), "]"));
  }
  return absl::StrJoin(lines, "\n");
}

const SourceSettings::Setting* SourceSettings::Find(absl::string_view name) const {
  const auto found =
      absl::c_find_if(settings_, [name](const Setting& one) { return one.name == name; });
  return found == settings_.end() ? nullptr : &*found;
}

SourceSettings::Setting& SourceSettings::At(absl::string_view name) {
  const auto found =
      absl::c_find_if(settings_, [name](const Setting& one) { return one.name == name; });
  return found == settings_.end() ? settings_.emplace_back(Setting{std::string(name)}) : *found;
}

}  // namespace vmeventd::client
