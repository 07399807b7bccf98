#pragma once

#include <cstdint>
#include <iterator>

#include "base/filter_lists.h"
#include "base/name_matcher.h"
#include "server/events/event_record.h"
#include "server/events/vm_record.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/event_types.h"

namespace vmeventd {

// Types of the events that report an end, and GAP.
inline constexpr v1::EventType kEndTypes[] = {kTypesWithEnd[0], kTypesWithEnd[1],
                                              v1::EVENT_TYPE_GAP};
static_assert(std::size(kEndTypes) == std::size(kTypesWithEnd) + 1);

// A checked filter, applied as FilterLists does. Immutable once made.
class EventMatcher {
 public:
  EventMatcher() = default;
  explicit EventMatcher(const v1::EventFilter& filter) : lists_(filter) {}

  // Takes at most some tenths of a millisecond (32 patterns with wildcards).
  bool Matches(const EventRecord& event) const;
  // Returns whether the VM passes the lists about VMs.
  bool MatchesVm(const VmRecord& vm) const;
  const NameMatcher& names() const { return lists_.names(); }
  // Returns whether only events that report an end (with a ShutdownDetail) and GAPs pass.
  bool is_of_ends() const {
    uint64_t ends = 0;
    for (const v1::EventType type : kEndTypes) ends |= uint64_t{1} << type;
    return !lists_.classes().has_all() || !lists_.causes().has_all() ||
           (!lists_.types().has_all() && (lists_.types().bits() & ~ends) == 0);
  }
  // Bits of the classes that pass; 0: all.
  uint64_t classes() const { return lists_.classes().bits(); }
  bool matches_all() const {
    return lists_.types().has_all() && lists_.PassesEnd(0, 0) && lists_.is_for_all_vms();
  }

 private:
  FilterLists lists_;
};

}  // namespace vmeventd
