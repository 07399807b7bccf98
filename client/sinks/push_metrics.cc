#include "client/sinks/push_metrics.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {

std::string MetricsOf(const PushState& state, absl::string_view name) {
  const std::string labels = absl::StrCat(
      "{push=\"", absl::StrReplaceAll(name, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}),
      "\"}");
  const auto* const reflection = state.GetReflection();
  std::string text;
  for (int i = 0; i < PushState::descriptor()->field_count(); ++i) {
    const auto* const field = PushState::descriptor()->field(i);
    if (field->cpp_type() == field->CPPTYPE_STRING) continue;
    const bool counts = field->cpp_type() == field->CPPTYPE_UINT32;
    const std::string metric = absl::StrCat("vmevents_push_", std::string(field->name()),
                                            counts ? "_total" : "_timestamp_seconds");
    google::protobuf::Timestamp time;  // the epoch, if it is unset
    if (!counts) time.CopyFrom(reflection->GetMessage(state, field));
    const double seconds = absl::ToDoubleSeconds(FromTimestamp(time) - absl::UnixEpoch());
    absl::StrAppend(
        &text, "# TYPE ", metric, counts ? " counter\n" : " gauge\n", metric, labels, " ",
        absl::StrFormat("%.17g", counts ? reflection->GetUInt32(state, field) : seconds), "\n");
  }
  return text;
}

}  // namespace vmeventd::client
