#ifndef VMEVENTD_CLIENT_OUTPUT_FORMAT_YAML_H_
#define VMEVENTD_CLIENT_OUTPUT_FORMAT_YAML_H_

#include <string>

#include "absl/strings/string_view.h"
#include "client/output/formatter.h"

namespace vmeventd::client {

// The JSON value as a YAML 1.2 block, with a newline at its end. Quotes every text that a YAML 1.1
// or 1.2 reader could take for something else: "no", "1e3", "2026-07-01". `json` must be valid.
std::string YamlOfJson(absl::string_view json);

// One YAML document a message, with the contents of JsonFormatter.
class YamlFormatter : public Formatter {
 public:
  std::string EventHeading() override { return ""; }
  absl::StatusOr<std::string> FormatEvents(const Events& events, const Nodes& nodes) override;
  absl::StatusOr<std::string> FormatVms(const Vms& vms, const Nodes& nodes) override;
  absl::StatusOr<std::string> FormatVm(const v1::Vm& vm) override;
  absl::StatusOr<std::string> FormatIntent(const v1::Intent& intent) override;
  absl::StatusOr<std::string> FormatIntents(const Vms& vms) override;
  absl::StatusOr<std::string> FormatInfo(const v1::GetServerInfoResponse& info) override;
  absl::StatusOr<std::string> FormatHealth(const Health& health) override;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OUTPUT_FORMAT_YAML_H_
