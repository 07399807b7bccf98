#include "tests/support/server_messages.h"

namespace vmeventd::client {

v1::Event MakeEvent(uint64_t sequence, const std::string& vm_name) {
  v1::Event event;
  event.set_sequence(sequence);
  event.mutable_observe_time()->set_seconds(1782907200);  // 2026-07-01T12:00:00Z
  event.mutable_observe_time()->set_nanos(123000000);
  event.mutable_vm()->set_name(vm_name);
  event.set_type(v1::EVENT_TYPE_STARTED);
  event.set_durable(true);
  return event;
}

v1::Progress MakeProgress(uint64_t sequence, const std::string& journal_id) {
  v1::Progress progress;
  progress.set_sequence(sequence);
  progress.set_durable_sequence(sequence);
  progress.set_journal_id(journal_id);
  return progress;
}

v1::Vm MakeVm(const std::string& name) {
  v1::Vm vm;
  vm.mutable_ref()->set_name(name);
  vm.set_state(v1::VM_STATE_RUNNING);
  return vm;
}

v1::WatchEventsResponse ProgressMessage(uint64_t sequence, const std::string& journal_id) {
  v1::WatchEventsResponse response;
  *response.mutable_progress() = MakeProgress(sequence, journal_id);
  return response;
}

v1::WatchEventsResponse EventsMessage(const std::vector<uint64_t>& sequences) {
  v1::WatchEventsResponse response;
  for (const uint64_t sequence : sequences) *response.add_events() = MakeEvent(sequence);
  return response;
}

}  // namespace vmeventd::client
