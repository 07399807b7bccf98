#include "client/sinks/sinks.h"

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"

namespace vmeventd::client {

const SinkTable& AllSinks() {
  static const auto* const kSinks =
      new SinkTable{.of_watch = {&kPrintSink, &kExecSink}, .of_push = {&kHttpSink, &kNatsSink}};
  return *kSinks;
}

absl::StatusOr<PushTarget> ParsePushTarget(absl::string_view url, bool insecure) {
  const PushSinkKind* kind = AllSinks().of_push.front();
  for (const PushSinkKind* const one : AllSinks().of_push) {
    const auto begins = [url](absl::string_view scheme) { return absl::StartsWith(url, scheme); };
    if (absl::c_any_of(one->schemes, begins)) kind = one;
  }
  absl::StatusOr<PushTarget> target = kind->parse(url, insecure);
  if (target.ok()) target->kind = kind;
  return target;
}

}  // namespace vmeventd::client
