#include "watcher/core/source_specs.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace vmeventd {
namespace {

// The settings that name something to follow, and the texts of what they name.
const struct SourceSetting {
  const char* name;
  std::vector<std::string> (*texts)(const SourceSpecs& specs);
} kSourceSettings[] = {
    {"watch",
     [](const SourceSpecs& specs) {
       std::vector<std::string> texts;
       for (const WatchSpec& watch : specs.watches) texts.push_back(watch.text());
       return texts;
     }},
    {"libvirt",
     [](const SourceSpecs& specs) {
       std::vector<std::string> texts;
       for (const LibvirtSpec& spec : specs.libvirts) texts.push_back("libvirt " + spec.ToFlag());
       return texts;
     }},
};

std::vector<std::string> TextsOf(const SourceSpecs& specs) {
  std::vector<std::string> all;
  for (const SourceSetting& setting : kSourceSettings) {
    for (std::string& text : setting.texts(specs)) all.push_back(std::move(text));
  }
  return all;
}

}  // namespace

bool SourceSpecs::is_default() const { return TextsOf(*this).empty(); }

std::string SourceSpecs::text() const {
  return is_default() ? "libvirt and Ganeti if they exist" : absl::StrJoin(TextsOf(*this), ", ");
}

SourceSpecs SourceSpecs::Resolved() const {
  SourceSpecs specs = *this;
  if (is_default()) {
    specs.watches.push_back(OptionalGanetiWatch());
    specs.libvirts.push_back(OptionalSystemLibvirt());
  }
  return specs;
}

std::string DefaultSourcesText() {
  const auto append = [](std::string* out, const SourceSetting& setting) {
    absl::StrAppend(out, setting.name);
  };
  return absl::StrCat("neither ", absl::StrJoin(kSourceSettings, " nor ", append),
                      " is set: libvirt (qemu:///system) and Ganeti's directory are followed, each "
                      "as soon as it exists");
}

}  // namespace vmeventd
