#include "server/events/event_matcher.h"

#include <algorithm>

namespace vmeventd {
namespace {

static_assert(v1::EventType_MAX < 64 && v1::ShutdownClass_MAX < 64, "one bit a value");

}  // namespace

bool IsGlob(absl::string_view pattern) {
  return pattern.find_first_of("*?[") != absl::string_view::npos;
}

NameMatcher::NameMatcher(const google::protobuf::RepeatedPtrField<std::string>& patterns) {
  for (const std::string& pattern : patterns) {
    if (IsGlob(pattern)) {
      globs_.emplace_back(pattern);
    } else {
      exact_.insert(pattern);
    }
  }
}

bool NameMatcher::Matches(absl::string_view name, size_t* steps) const {
  ++*steps;
  if (matches_all() || exact_.contains(name)) return true;
  return std::any_of(globs_.begin(), globs_.end(),
                     [=](const Glob& glob) { return glob.Matches(name, steps); });
}

size_t NameMatcher::memory() const {
  size_t bytes = exact_.capacity() * (sizeof(std::string) + 1);
  for (const std::string& name : exact_) bytes += name.capacity();
  for (const Glob& glob : globs_) bytes += glob.memory();
  return bytes;
}

EventMatcher::EventMatcher(const v1::EventFilter& filter)
    : names_(filter.vm_names()), sources_(filter.sources()) {
  for (const int type : filter.types()) types_ |= uint64_t{1} << type;
  for (const int shutdown_class : filter.classes()) classes_ |= uint64_t{1} << shutdown_class;
}

bool EventMatcher::Matches(const EventBlock::Entry& entry, size_t* steps) const {
  ++*steps;
  if (entry.vm_name.empty()) return true;  // an event missing by a GAP of the node may have matched
  if (types_ != 0 && (types_ >> entry.type & 1) == 0) return false;
  if (classes_ != 0 && (classes_ >> entry.shutdown_class & 1) == 0) return false;
  return MatchesVm(entry.vm_name, entry.source, steps);
}

}  // namespace vmeventd
