#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {

// The VM in each line of JSON, as "CLUSTER/NODE/NAME" or "NODE/NAME".
inline std::string PathsOf(absl::string_view json) {
  std::string paths;
  for (const absl::string_view line : absl::StrSplit(json, '\n', absl::SkipEmpty())) {
    nlohmann::json one = nlohmann::json::parse(std::string(line));
    if (one.contains("ends_in_24h")) one = one[one.contains("vm") ? "vm" : "last_end"];  // of `why`
    const std::string cluster = one.value("cluster", "");
    absl::StrAppend(&paths, cluster, cluster.empty() ? "" : "/", std::string(one["node"]), "/",
                    std::string(one[one.contains("ref") ? "ref" : "vm"]["name"]), "\n");
  }
  return paths;
}

}  // namespace vmeventd::client
