#include "server/events/vm_record.h"

#include <tuple>

#include "server/events/event_codec.h"

namespace vmeventd {

bool operator<(const VmKey& a, const VmKey& b) {
  return std::tie(a.name, a.run_id, a.path) < std::tie(b.name, b.run_id, b.path);
}

VmRecord::VmRecord(const v1::Vm& vm)
    : encoded(Serialized(vm)),
      name(vm.ref().name()),
      run_id(vm.ref().run_id()),
      path(vm.monitor_path()),
      source(vm.ref().source()),
      uuid(ParseUuid(vm.ref().uuid())),
      state(vm.state()),
      has_problems(vm.problems_size() > 0),
      last_sequence(vm.last_sequence()) {}

}  // namespace vmeventd
