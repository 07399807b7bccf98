#include "client/output/format_json.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/json_util.h"

namespace vmeventd::client {
namespace {

absl::Status AppendLine(const google::protobuf::Message& message, std::string* out) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string line;
  const auto status = google::protobuf::util::MessageToJsonString(message, &line, options);
  if (!status.ok()) {
    return absl::InternalError(
        absl::StrCat("a ", message.GetDescriptor()->name(),
                     " of the server cannot be written as JSON: ", std::string(status.message())));
  }
  absl::StrAppend(out, line, "\n");
  return absl::OkStatus();
}

template <typename Messages>
absl::StatusOr<std::string> Lines(const Messages& messages) {
  std::string out;
  for (const auto& message : messages) {
    const absl::Status status = AppendLine(message, &out);
    if (!status.ok()) return status;
  }
  return out;
}

absl::StatusOr<std::string> Line(const google::protobuf::Message& message) {
  std::string out;
  const absl::Status status = AppendLine(message, &out);
  if (!status.ok()) return status;
  return out;
}

}  // namespace

absl::StatusOr<std::string> JsonFormatter::FormatEvents(const Events& events) {
  return Lines(events);
}
absl::StatusOr<std::string> JsonFormatter::FormatVms(const Vms& vms) { return Lines(vms); }
absl::StatusOr<std::string> JsonFormatter::FormatVm(const v1::Vm& vm) { return Line(vm); }
absl::StatusOr<std::string> JsonFormatter::FormatIntent(const v1::Intent& intent) {
  return Line(intent);
}
absl::StatusOr<std::string> JsonFormatter::FormatInfo(const v1::GetServerInfoResponse& info) {
  return Line(info);
}
absl::StatusOr<std::string> JsonFormatter::FormatHealth(const Health& health) {
  return Line(health);
}

}  // namespace vmeventd::client
