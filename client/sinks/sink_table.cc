#include "client/sinks/sink_table.h"

#include "absl/strings/match.h"

namespace vmeventd::client {

const PushSinkKind* SinkOfUrl(const SinkTable& sinks, absl::string_view url) {
  for (const PushSinkKind* const kind : sinks.of_push) {
    for (const absl::string_view scheme : {kind->scheme, kind->plain_scheme}) {
      if (!scheme.empty() && absl::StartsWith(url, scheme)) return kind;
    }
  }
  return nullptr;
}

absl::StatusOr<PushTarget> ParsePushTarget(const SinkTable& sinks, absl::string_view url,
                                           bool insecure) {
  const PushSinkKind* kind = SinkOfUrl(sinks, url);
  if (kind == nullptr) kind = sinks.of_push.front();
  absl::StatusOr<PushTarget> target = kind->parse(url, insecure);
  if (target.ok()) target->kind = kind;
  return target;
}

}  // namespace vmeventd::client
