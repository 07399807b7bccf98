#include "client/fleet/fleet_filter.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "base/glob.h"
#include "client/fleet/fleet_buckets.h"
#include "client/fleet/fleet_subjects.h"
#include "client/output/enum_names.h"
#include "watcher/core/event_time.h"
#include "watcher/core/event_types.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

constexpr char kAny[] = "*";

// The token of the one name that passes; *: others pass as well.
std::string VmToken(const google::protobuf::RepeatedPtrField<std::string>& patterns) {
  return patterns.size() == 1 && !IsGlob(patterns[0]) ? EscapeToken(patterns[0]) : kAny;
}

// "CLUSTER.NODE" of the one node that passes.
std::string NodeTokens(const std::vector<std::string>& patterns) {
  if (patterns.size() != 1 || IsGlob(patterns[0])) return absl::StrCat(kAny, ".", kAny);
  const std::vector<std::string> names = absl::StrSplit(patterns[0], absl::MaxSplits('/', 1));
  return absl::StrCat(names.size() > 1 ? EscapeToken(names[0]) : kAny, ".",
                      EscapeToken(names.back()));
}

// The word of the one value that passes.
template <typename Enum>
std::string WordOf(const google::protobuf::RepeatedField<int>& values) {
  return values.size() == 1 ? SubjectWord(ShortName(static_cast<Enum>(values[0]))) : kAny;
}

// The tokens after the VM in the subjects of events. Those of an end have a class.
std::string EventTokens(const v1::EventFilter& filter) {
  const std::string type = WordOf<v1::EventType>(filter.types());
  const bool is_end =
      filter.types_size() == 1 && HasEnd(static_cast<v1::EventType>(filter.types(0)));
  if (is_end || !filter.classes().empty()) {
    return absl::StrCat(type, ".", WordOf<v1::ShutdownClass>(filter.classes()));
  }
  return type == kAny ? ">" : type;
}

}  // namespace

FleetFilter FilterOf(const v1::EventFilter& filter, std::vector<std::string> nodes) {
  FleetFilter out = {.nodes = std::move(nodes)};
  *out.list.mutable_filter() = filter;
  return out;
}

std::vector<std::string> EventSubjects(const FleetFilter& filter) {
  const std::string prefix = absl::StrCat(kSubjectPrefix, ".", NodeTokens(filter.nodes), ".");
  const std::string vm = VmToken(filter.list.filter().vm_names());
  const std::string events = EventTokens(filter.list.filter());
  std::vector<std::string> subjects = {absl::StrCat(prefix, vm, ".", events)};
  if (vm != kAny || (events != ">" && events != "gap")) {
    subjects.push_back(absl::StrCat(prefix, EscapeToken(""), ".gap"));
  }
  return subjects;
}

std::string KeySubjects(absl::string_view bucket, const FleetFilter& filter) {
  const std::string node = NodeTokens(filter.nodes);
  if (bucket == kNodesBucket) return KeySubject(bucket, node);
  return KeySubject(bucket, absl::StrCat(node, ".", VmToken(filter.list.filter().vm_names())));
}

FleetMatcher::FleetMatcher(const FleetFilter& filter) : list_(filter.list), lists_(list_.filter()) {
  std::vector<std::string> nodes;
  std::vector<std::string> of_clusters;
  for (const std::string& entry : filter.nodes) {
    (absl::StrContains(entry, '/') ? of_clusters : nodes).push_back(entry);
  }
  if (!nodes.empty()) nodes_.emplace(nodes);
  if (!of_clusters.empty()) nodes_of_clusters_.emplace(of_clusters);
}

bool FleetMatcher::PassesNode(absl::string_view cluster, absl::string_view node) const {
  if (!nodes_ && !nodes_of_clusters_) return true;
  return (nodes_ && nodes_->Matches(node)) ||
         (nodes_of_clusters_ && nodes_of_clusters_->Matches(absl::StrCat(cluster, "/", node)));
}

bool FleetMatcher::Passes(const MessageNode& origin, const v1::Event& event) const {
  const absl::Time time = FromTimestamp(event.observe_time());
  if (list_.has_start_time() && time < FromTimestamp(list_.start_time())) return false;
  if (list_.has_end_time() && EarliestTimeOf(event) >= FromTimestamp(list_.end_time()))
    return false;
  if (!PassesNode(origin.cluster, origin.name)) return false;
  const v1::ShutdownDetail& end = event.shutdown();
  return lists_.PassesEvent(
      !event.has_vm(), event.type(), end.shutdown_class(), [&end] { return end.cause(); },
      [&event] { return event.vm(); });
}

bool FleetMatcher::Passes(const MessageNode& origin, const v1::VmRef& vm) const {
  return PassesNode(origin.cluster, origin.name) && lists_.PassesVm(vm);
}

}  // namespace vmeventd::client
