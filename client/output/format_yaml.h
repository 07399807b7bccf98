#ifndef VMEVENTD_CLIENT_OUTPUT_FORMAT_YAML_H_
#define VMEVENTD_CLIENT_OUTPUT_FORMAT_YAML_H_

#include <string>

#include "absl/strings/string_view.h"
#include "client/output/format_json.h"

namespace vmeventd::client {

// The JSON value as a YAML 1.2 block, with a newline at its end. Quotes every text that a YAML 1.1
// or 1.2 reader could take for something else: "no", "1e3", "2026-07-01". `json` must be valid.
std::string YamlOfJson(absl::string_view json);

// One YAML document a message, with the contents of JsonFormatter.
class YamlFormatter : public JsonFormatter {
 private:
  std::string Show(const std::string& json) const override { return "---\n" + YamlOfJson(json); }
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OUTPUT_FORMAT_YAML_H_
