#include "server/events/complete_event.h"

namespace vmeventd {

void CompleteEvent(const v1::Vm* vm, uint64_t sequence, v1::Event* event) {
  event->set_sequence(sequence);
  if (vm == nullptr) return;
  *event->mutable_vm() = vm->ref();
  event->set_state(vm->state());
  event->set_pause_reason(vm->pause_reason());
  *event->mutable_problems() = vm->problems();
}

}  // namespace vmeventd
