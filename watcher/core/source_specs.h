#pragma once

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/core/source_setting.h"
#include "watcher/core/watch_spec.h"

// The sources of VMs, as flags name them. Pure.

namespace vmeventd {

using SourceSettings = absl::Span<const SourceSetting* const>;

// The settings of all sources, in the order of --help. Tests have others.
inline constexpr const SourceSetting* kSourceSettings[] = {
    &kWatchSetting,
    &kWatchManagerSocketsSetting,
    &kLibvirtSetting,
};

// The values of the settings. Each member belongs to one row of kSourceSettings; its initializer is
// the default.
struct SourceSpecs {
  std::vector<WatchSpec> watches;
  bool watch_manager_sockets = false;  // connect also to monitors that managers need themselves
  std::vector<LibvirtSpec> libvirts;

  // Returns whether no source is named, so that the default is followed.
  bool is_default(SourceSettings settings = kSourceSettings) const;
  // The followed sources, for people.
  std::string text(SourceSettings settings = kSourceSettings) const;
  // Returns the specs with what the default stands for.
  SourceSpecs Resolved(SourceSettings settings = kSourceSettings) const;
};

// The names of the settings that name a source, for people: "watch or libvirt".
std::string SourceNames(SourceSettings settings = kSourceSettings);
// A sentence for people: no source is named, so these default sources are followed.
std::string DefaultSourcesText(SourceSettings settings = kSourceSettings);
// A sentence for --help, without its full stop: these sources are followed without these flags.
std::string DefaultSourcesHelp(SourceSettings settings = kSourceSettings);
// The VMs of these default sources, for people: "libvirt's domains and Ganeti's VMs".
std::string DefaultVms(SourceSettings settings = kSourceSettings);

// Returns the first setting that has examples. There must be one.
const SourceSetting& ExampleSetting(SourceSettings settings = kSourceSettings);
// Returns its line in a configuration file, with its examples as the values.
std::string ExampleLine(SourceSettings settings = kSourceSettings);

}  // namespace vmeventd
