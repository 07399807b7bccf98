#include "client/sinks/sink_table.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/output/or_list.h"

namespace vmeventd::client {

const PushSinkKind* SinkOfUrl(const SinkTable& sinks, absl::string_view url) {
  for (const PushSinkKind* const kind : sinks.of_push) {
    for (const absl::string_view scheme : {kind->scheme, kind->plain_scheme}) {
      if (!scheme.empty() && absl::StartsWithIgnoreCase(url, scheme)) return kind;
    }
  }
  return nullptr;
}

absl::Status UnknownUrlError(const SinkTable& sinks, absl::string_view shown) {
  std::vector<std::string> schemes;
  std::vector<std::string> examples;
  for (const PushSinkKind* const kind : sinks.of_push) {
    for (const absl::string_view scheme : {kind->scheme, kind->plain_scheme}) {
      if (!scheme.empty()) schemes.emplace_back(scheme);
    }
    examples.emplace_back(kind->example);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("URL: ", shown.empty() ? "it" : absl::StrCat("\"", shown, "\""),
                   " does not begin with ", OrList(schemes), "; write ", OrList(examples)));
}

absl::StatusOr<PushTarget> ParsePushTarget(const SinkTable& sinks, absl::string_view url,
                                           bool insecure) {
  const PushSinkKind* const kind = SinkOfUrl(sinks, url);
  if (kind == nullptr) return UnknownUrlError(sinks, /*shown=*/"");
  absl::StatusOr<PushTarget> target = kind->parse(url, insecure);
  if (target.ok()) target->kind = kind;
  return target;
}

}  // namespace vmeventd::client
