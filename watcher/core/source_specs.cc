#include "watcher/core/source_specs.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace vmeventd {
namespace {

// The texts of what the settings name.
std::vector<std::string> TextsOf(const SourceSpecs& specs, SourceSettings settings) {
  std::vector<std::string> all;
  for (const SourceSetting* setting : settings) {
    if (setting->is_switch()) continue;
    for (const std::string& text : setting->print(specs)) {
      all.push_back(absl::StrCat(setting->log_prefix, text));
    }
  }
  return all;
}

// The names of the settings that name something to follow.
std::vector<std::string> Names(SourceSettings settings, absl::string_view before) {
  std::vector<std::string> names;
  for (const SourceSetting* setting : settings) {
    if (!setting->is_switch()) names.push_back(absl::StrCat(before, setting->name));
  }
  return names;
}

// "a, b and c", where `last` is " and ".
std::string Enumerated(std::vector<std::string> texts, absl::string_view last) {
  if (texts.empty()) return "";
  const std::string end = std::move(texts.back());
  texts.pop_back();
  return texts.empty() ? end : absl::StrCat(absl::StrJoin(texts, ", "), last, end);
}

// The default sources, by one of their texts. The last setting comes first: libvirt, which more
// nodes have, is named before Ganeti.
std::string Defaults(SourceSettings settings, const char* SourceSetting::Default::*text) {
  std::vector<std::string> texts;
  for (const SourceSetting* setting : settings) {
    if (setting->by_default.has_value()) texts.emplace_back((*setting->by_default).*text);
  }
  std::ranges::reverse(texts);
  return Enumerated(std::move(texts), " and ");
}

std::string FollowedPlaces(SourceSettings settings) {
  return absl::StrCat(Defaults(settings, &SourceSetting::Default::place),
                      " are followed, each as soon as it exists");
}

}  // namespace

bool SourceSpecs::is_default(SourceSettings settings) const {
  return TextsOf(*this, settings).empty();
}

std::string SourceSpecs::text(SourceSettings settings) const {
  return is_default(settings)
             ? absl::StrCat(Defaults(settings, &SourceSetting::Default::name), " if they exist")
             : absl::StrJoin(TextsOf(*this, settings), ", ");
}

SourceSpecs SourceSpecs::Resolved(SourceSettings settings) const {
  SourceSpecs specs = *this;
  if (!is_default(settings)) return specs;
  for (const SourceSetting* setting : settings) {
    if (setting->by_default.has_value()) setting->by_default->add(&specs);
  }
  return specs;
}

std::string SourceNames(SourceSettings settings) { return Enumerated(Names(settings, ""), " or "); }

std::string DefaultSourcesText(SourceSettings settings) {
  return absl::StrCat("neither ", absl::StrJoin(Names(settings, ""), " nor "),
                      " is set: ", FollowedPlaces(settings));
}

std::string DefaultSourcesHelp(SourceSettings settings) {
  return absl::StrCat("Without ", Enumerated(Names(settings, "--"), " and "), ", ",
                      FollowedPlaces(settings));
}

std::string DefaultVms(SourceSettings settings) {
  return Defaults(settings, &SourceSetting::Default::vms);
}

const SourceSetting& ExampleSetting(SourceSettings settings) {
  return **std::ranges::find_if(
      settings, [](const SourceSetting* setting) { return setting->examples.has_value(); });
}

std::string ExampleLine(SourceSettings settings) {
  const SourceSetting& setting = ExampleSetting(settings);
  return absl::StrCat(setting.name, " = [\"", setting.examples->value, "\", \"",
                      setting.examples->other, "\"]");
}

}  // namespace vmeventd
