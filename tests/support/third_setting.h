#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "watcher/core/source_setting.h"
#include "watcher/core/source_specs.h"

namespace vmeventd {

// The values of kThirdSetting, which SourceSpecs has no field for. Each test begins with none.
inline std::vector<std::string> third_values;

// The setting of a source that the daemon does not know. Each value is a directory.
inline constexpr SourceSetting kThirdSetting = {
    .name = "third",
    .argument = "PLACE",
    .help = "Follow the third VMs in PLACE; repeatable",
    .log_prefix = "third ",
    .read = [](const std::vector<std::string>& texts, SourceSpecs*) -> absl::Status {
      if (texts.front() == "bad") return absl::InvalidArgumentError("\"bad\" is no place");
      third_values = texts;
      return absl::OkStatus();
    },
    .print = [](const SourceSpecs&) { return third_values; },
    .directories = [](const SourceSpecs&) { return third_values; },
    .instead_of_socket = "the place of the third",
    .by_default = SourceSetting::Default{.name = "the third",
                                         .place = "the third's place",
                                         .vms = "the third's VMs",
                                         .add = [](SourceSpecs*) { third_values = {"/third"}; }},
    .examples = SourceSetting::Examples{.value = "/a", .what = "the third VMs of a", .other = "/b"},
};

}  // namespace vmeventd
