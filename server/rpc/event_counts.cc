#include "server/rpc/event_counts.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "server/events/event_codec.h"
#include "server/rpc/who_ended.h"

namespace vmeventd {
namespace {

// "CRASH" for SHUTDOWN_CLASS_CRASH; empty for 0.
template <typename Enum>
std::string NameOf(Enum value, absl::string_view prefix, const std::string& name) {
  if (value == 0) return "";
  return name.empty() ? absl::StrCat(static_cast<int>(value))
                      : std::string(absl::StripPrefix(name, prefix));
}

}  // namespace

std::string EventCounts::KeyOf(const EventRecord& event) const {
  switch (by_) {
    case v1::COUNT_KEY_WHO: {
      const auto parsed = Parsed<v1::Event>(event.event);
      if (!parsed.has_shutdown()) return parsed.intent().actor();
      return WhoOf(parsed.shutdown(), Parsed<v1::VmRef>(event.vm_ref));
    }
    case v1::COUNT_KEY_VM:
      return Parsed<v1::VmRef>(event.vm_ref).name();
    case v1::COUNT_KEY_CLASS:
      return NameOf(event.shutdown_class, "SHUTDOWN_CLASS_",
                    v1::ShutdownClass_Name(event.shutdown_class));
    case v1::COUNT_KEY_CAUSE: {
      const v1::ShutdownCause cause = Parsed<v1::Event>(event.event).shutdown().cause();
      return NameOf(cause, "SHUTDOWN_CAUSE_", v1::ShutdownCause_Name(cause));
    }
    case v1::COUNT_KEY_TYPE:
      return NameOf(event.type, "EVENT_TYPE_", v1::EventType_Name(event.type));
    case v1::COUNT_KEY_DAY:
      return absl::FormatTime("%Y-%m-%d", event.observe_time, zone_);
    case v1::COUNT_KEY_HOUR:
      return absl::FormatTime("%Y-%m-%d %H", event.observe_time, zone_);
    case v1::COUNT_KEY_MINUTE:
      return absl::FormatTime("%Y-%m-%d %H:%M", event.observe_time, zone_);
    default:
      return "";
  }
}

void EventCounts::Add(const EventRecord& event) {
  if (event.is_of_node() && !counts_gaps_) return;
  std::string key = KeyOf(event);
  const auto found = counts_.find(key);
  if (found != counts_.end()) {
    ++found->second;
  } else if (counts_.size() < kMaxKeys) {
    counts_.emplace(std::move(key), 1);
  } else {
    ++others_;
  }
}

v1::CountEventsResponse EventCounts::Take() const {
  std::vector<std::pair<std::string, uint64_t>> sorted(counts_.begin(), counts_.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  v1::CountEventsResponse response;
  response.set_others(others_);
  for (const auto& [key, events] : sorted) {
    if (response.counts_size() == static_cast<int>(kMaxCounts)) {
      response.set_others(response.others() + events);
      continue;
    }
    v1::EventCount* const count = response.add_counts();
    count->set_key(key);
    count->set_events(events);
  }
  return response;
}

}  // namespace vmeventd
