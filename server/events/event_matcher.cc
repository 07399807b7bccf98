#include "server/events/event_matcher.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "server/events/event_codec.h"

namespace vmeventd {

static_assert(v1::EventType_MAX < 64 && v1::ShutdownClass_MAX < 64 && v1::ShutdownCause_MAX < 64,
              "one bit a value");

NameMatcher::NameMatcher(const google::protobuf::RepeatedPtrField<std::string>& patterns) {
  for (const std::string& pattern : patterns) {
    exact_.insert(pattern);
    if (IsGlob(pattern)) globs_.emplace_back(pattern);
  }
}

bool NameMatcher::Matches(absl::string_view name) const {
  if (matches_all() || exact_.contains(name)) return true;
  return std::any_of(globs_.begin(), globs_.end(),
                     [&](const Glob& glob) { return glob.Matches(name); });
}

EventMatcher::EventMatcher(const v1::EventFilter& filter)
    : names_(filter.vm_names()),
      sources_(filter.sources()),
      run_ids_(filter.run_ids().begin(), filter.run_ids().end()) {
  for (const int type : filter.types()) types_ |= uint64_t{1} << type;
  for (const int shutdown_class : filter.classes()) classes_ |= uint64_t{1} << shutdown_class;
  for (const int cause : filter.causes()) causes_ |= uint64_t{1} << cause;
  for (const std::string& text : filter.uuids()) {
    if (const std::optional<Uuid> uuid = ParseUuid(text); uuid.has_value()) uuids_.insert(*uuid);
  }
  for (const std::string& text : filter.labels()) {
    absl::StatusOr<LabelSelector> selector = LabelSelector::Parse(text);
    if (selector.ok()) labels_.push_back(*std::move(selector));
  }
}

bool EventMatcher::MatchesRef(const v1::VmRef& vm) const {
  if (!uuids_.empty()) {
    const std::optional<Uuid> uuid = ParseUuid(vm.uuid());
    if (!uuid.has_value() || !uuids_.contains(*uuid)) return false;
  }
  return labels_.empty() || std::any_of(labels_.begin(), labels_.end(), [&](const auto& selector) {
           return selector.Matches(vm.labels());
         });
}

EventMatcher::EventMatcher(const RequestFilter& request) : EventMatcher(request.filter) {
  for (const v1::EventFilter& filter : request.any_of) any_of_.emplace_back(filter);
}

bool EventMatcher::Matches(const EventRecord& event) const {
  if (event.is_of_node()) return true;  // an event missing by a GAP of the node may have matched
  if (types_ != 0 && (types_ >> event.type & 1) == 0) return false;
  if (classes_ != 0 && (classes_ >> event.shutdown_class & 1) == 0) return false;
  if (!is_for_all_names() || !is_for_all_refs()) {
    const auto vm = Parsed<v1::VmRef>(event.vm_ref);
    if (!MatchesNames(vm.name(), vm.run_id(), vm.source()) || !MatchesRef(vm)) return false;
  }
  if (!IsAny([&](const EventMatcher& one) { return one.Matches(event); })) return false;
  if (causes_ == 0) return true;
  // A cause that this version does not know cannot be asked for.
  const auto cause = static_cast<uint32_t>(Parsed<v1::Event>(event.event).shutdown().cause());
  return cause < 64 && (causes_ >> cause & 1) != 0;
}

bool EventMatcher::MatchesVm(const VmRecord& vm) const {
  return MatchesNames(vm.name, vm.run_id, vm.source) &&
         (is_for_all_refs() || MatchesRef(Parsed<v1::Vm>(vm.encoded).ref())) &&
         IsAny([&](const EventMatcher& one) { return one.MatchesVm(vm); });
}

}  // namespace vmeventd
