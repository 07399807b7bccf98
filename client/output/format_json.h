#ifndef VMEVENTD_CLIENT_OUTPUT_FORMAT_JSON_H_
#define VMEVENTD_CLIENT_OUTPUT_FORMAT_JSON_H_

#include <string>

#include "client/output/formatter.h"

namespace vmeventd::client {

// One JSON object a line: protobuf's JSON mapping with the contract's field names, enums by name,
// 64-bit numbers as strings. Includes zero and empty fields, so that a script finds each number,
// text and list without testing for it; omits unset messages.
class JsonFormatter : public Formatter {
 public:
  std::string EventHeading() override { return ""; }
  absl::StatusOr<std::string> FormatEvents(const Events& events) override;
  absl::StatusOr<std::string> FormatVms(const Vms& vms) override;
  absl::StatusOr<std::string> FormatVm(const v1::Vm& vm) override;
  absl::StatusOr<std::string> FormatIntent(const v1::Intent& intent) override;
  absl::StatusOr<std::string> FormatInfo(const v1::GetServerInfoResponse& info) override;
  absl::StatusOr<std::string> FormatHealth(const Health& health) override;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OUTPUT_FORMAT_JSON_H_
