#include "client/fleet/cloud_event.h"

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/fleet/fleet_subjects.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {

std::string IdOf(const v1::Event& event) {
  return event.sequence() > 0 ? absl::StrCat(event.sequence())
                              : absl::StrCat("gap-after-", event.missing().first() - 1);
}

std::string SourceOf(const MessageNode& node) {
  return absl::StrCat("/vmevents/", EscapeToken(node.cluster), "/", EscapeToken(node.name), "/",
                      node.journal_id);
}

std::vector<std::pair<std::string, std::string>> CloudEventOf(const v1::Event& event,
                                                              const MessageNode& node) {
  const absl::Time time = FromTimestamp(event.observe_time());
  std::vector<std::pair<std::string, std::string>> attributes = {
      {"specversion", "1.0"},
      {"id", IdOf(event)},
      {"source", SourceOf(node)},
      {"type", absl::StrCat(kSubjectPrefix, ".", SubjectWords(event))},
      {"subject", event.vm().name()},
      {"time", absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone())}};
  std::erase_if(attributes, [](const auto& attribute) { return attribute.second.empty(); });
  return attributes;
}

}  // namespace vmeventd::client
