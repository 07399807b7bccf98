#include "client/output/detail_text.h"

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "client/output/cells.h"
#include "client/output/end_text.h"
#include "client/output/vm_text.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

std::string WhatHappened(const v1::Event& event, bool wide) {
  if (event.has_shutdown()) return EndLine(event.shutdown(), event.message(), wide);
  std::string detail = event.message();
  if (detail.empty()) detail = event.qmp_event();
  // INTENT_DECLARED has these in its message.
  if (event.type() == v1::EVENT_TYPE_INTENT_ENDED && event.has_intent()) {
    absl::StrAppend(&detail, detail.empty() ? "" : "; ", "by ", event.intent().actor(), ": ",
                    event.intent().reason());
  }
  constexpr v1::EventType kOfState[] = {v1::EVENT_TYPE_STARTED, v1::EVENT_TYPE_PAUSED,
                                        v1::EVENT_TYPE_STATE_CHANGED,
                                        v1::EVENT_TYPE_MONITOR_RESTORED};
  const std::string why = PauseWords(event.pause_reason());
  if (!why.empty() && absl::c_linear_search(kOfState, event.type())) {
    absl::StrAppend(&detail, ": ", why);
  }
  return detail;
}

}  // namespace

std::string DetailText(const v1::Event& event, absl::TimeZone zone, bool wide) {
  const std::string between = EndedBetween(event.shutdown(), FromTimestamp(event.observe_time()),
                                           zone, /*names_day=*/false);
  return absl::StrCat(between, between.empty() ? "" : ": ", WhatHappened(event, wide));
}

}  // namespace vmeventd::client
