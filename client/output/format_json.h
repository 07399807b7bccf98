#ifndef VMEVENTD_CLIENT_OUTPUT_FORMAT_JSON_H_
#define VMEVENTD_CLIENT_OUTPUT_FORMAT_JSON_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/output/formatter.h"
#include "google/protobuf/message.h"

namespace vmeventd::client {

// One JSON object, without a newline: protobuf's JSON mapping with the contract's field names,
// enums by name, 64-bit numbers as strings. Includes zero and empty fields, so that a script finds
// each number, text and list without testing for it; omits unset messages. With a `node` the object
// begins with the members "cluster", if there is one, and "node".
absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message,
                                   const MessageNode& node = {});

// One JSON object a line, as by ToJson(). A class derived from it shows the same objects
// differently.
class JsonFormatter : public Formatter {
 public:
  std::string EventHeading() override { return ""; }
  absl::StatusOr<std::string> FormatEvents(const Events& events, const Nodes& nodes) override;
  absl::StatusOr<std::string> FormatVms(const Vms& vms, const Nodes& nodes) override;
  absl::StatusOr<std::string> FormatVm(const v1::Vm& vm, const Nodes& nodes) override;
  absl::StatusOr<std::string> FormatIntent(const v1::Intent& intent) override;
  absl::StatusOr<std::string> FormatIntents(const Vms& vms) override;
  absl::StatusOr<std::string> FormatInfo(const v1::GetServerInfoResponse& info) override;
  absl::StatusOr<std::string> FormatHealth(const Health& health) override;
  absl::StatusOr<std::string> FormatFleet(const Heartbeats& nodes, absl::Time now) override;

 private:
  // One object of ToJson() as it is printed.
  virtual std::string Show(const std::string& json) const;

  absl::StatusOr<std::string> One(const google::protobuf::Message& message,
                                  const MessageNode& node = {}) const;
  template <typename Messages>
  absl::StatusOr<std::string> Each(const Messages& messages, const Nodes& nodes) const;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OUTPUT_FORMAT_JSON_H_
