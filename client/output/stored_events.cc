#include "client/output/stored_events.h"

#include "absl/strings/str_cat.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {

std::string StoredEvents(const v1::GetServerInfoResponse& info, absl::TimeZone zone) {
  return absl::StrCat(
      info.events(), info.events() == 1 ? " event" : " events",
      info.has_oldest_time()
          ? absl::FormatTime(" since %Y-%m-%d %H:%M:%S", FromTimestamp(info.oldest_time()), zone)
          : "");
}

}  // namespace vmeventd::client
