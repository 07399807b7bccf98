#include "server/events/event_matcher.h"

#include "server/events/event_codec.h"

namespace vmeventd {

static_assert(v1::EventType_MAX < 64 && v1::ShutdownClass_MAX < 64 && v1::ShutdownCause_MAX < 64,
              "one bit a value");

bool EventMatcher::Matches(const EventRecord& event) const {
  const auto cause = [&event] { return Parsed<v1::Event>(event.event).shutdown().cause(); };
  const auto vm = [&event] { return Parsed<v1::VmRef>(event.vm_ref); };
  return lists_.PassesEvent(event.is_of_node(), event.type, event.shutdown_class, cause, vm);
}

bool EventMatcher::MatchesVm(const VmRecord& vm) const {
  return lists_.PassesNames(vm.name, vm.run_id, vm.source) &&
         (lists_.has_no_rest() || lists_.PassesRest(Parsed<v1::Vm>(vm.encoded).ref()));
}

}  // namespace vmeventd
