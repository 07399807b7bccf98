#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "vmeventd/contract/enums.h"
#include "vmeventd/v1/vm_events.pb.h"

// Output of the watcher: the messages of vm_events.proto, and the types by which the watcher itself
// decides. The enumerations are generated from vm_events.proto. All text is valid UTF-8.

namespace vmeventd {

// Times outside of what a Timestamp can hold (years 1 to 9999) become its nearest end.
google::protobuf::Timestamp ToTimestamp(absl::Time time);
absl::Time FromTimestamp(const google::protobuf::Timestamp& time);
google::protobuf::Duration ToProtoDuration(absl::Duration duration);
// "2026-11-28 21:12:38 and 21:12:53 UTC" with the word "and" in between.
std::string TimesText(absl::Time from, absl::string_view word, absl::Time to);

// A problem of a VM, a socket or a connection. No text: there is none.
struct Problem {
  ProblemCode code = ProblemCode::kUnspecified;
  std::string text;  // UTF-8

  bool empty() const { return text.empty(); }
  bool operator==(const Problem&) const = default;
};

// Keys and values, sorted by key; no key twice. VmRef.labels in vm_events.proto has the rules.
using Labels = std::vector<std::pair<std::string, std::string>>;

v1::Problem ToProto(const Problem& problem);

v1::Event MakeEvent(EventType type, std::string message);
// A GAP, observed at `time`.
v1::Event MakeGap(GapReason reason, std::string message, absl::Time time);

}  // namespace vmeventd
