#ifndef VMEVENTD_CLIENT_OUTPUT_FORMAT_PROGRAMS_H_
#define VMEVENTD_CLIENT_OUTPUT_FORMAT_PROGRAMS_H_

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

// The JSON value as a YAML 1.2 block, with a newline at its end. Quotes every text that a YAML 1.1
// or 1.2 reader could take for something else: "no", "1e3", "2026-07-01". `json` must be valid.
std::string YamlOfJson(absl::string_view json);

// One YAML document a message, with the contents of JsonFormatter.
class YamlFormatter : public JsonFormatter {
 private:
  std::string Show(const std::string& json) const override { return "---\n" + YamlOfJson(json); }
};

// One name a line, for a shell's loop: of each VM, of the VM of each event, an intent's id, the
// node's name. Escaped for terminals. An event of the whole node has no line. NODE/NAME if there
// are several nodes; of a fleet CLUSTER/NODE/NAME, and CLUSTER/NODE of a node.
class NameFormatter : public Formatter {
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
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OUTPUT_FORMAT_PROGRAMS_H_
