// Any row of the journal is read as an event, a VM, or neither; none crashes the daemon, and what
// was read is written back unchanged.

#include <cstdlib>
#include <string>

#include "server/events/event_codec.h"

void Fuzz_journal_row(absl::string_view input) {
  const std::string row(input);
  const vmeventd::v1::Event event = vmeventd::DecodeEventField(row);
  std::string written;
  vmeventd::AppendEventField(event, &written);
  const vmeventd::v1::Event again = vmeventd::DecodeEventField(written);
  vmeventd::v1::Event durable = event;
  durable.set_durable(true);
  if (again.SerializeAsString() != durable.SerializeAsString()) std::abort();
  const vmeventd::v1::VmRef& vm_ref = event.vm();
  const vmeventd::VmNames names = vmeventd::NamesAtEnd(
      written, vm_ref.name().size(), vm_ref.run_id().size(), vm_ref.source().size());
  if (names.name != vm_ref.name() || names.source != vm_ref.source()) std::abort();

  const vmeventd::v1::Vm vm = vmeventd::DecodeSnapshotVmField(row);
  const std::string field = vmeventd::EncodeSnapshotVmField(vm);
  if (vmeventd::DecodeSnapshotVmField(field).SerializeAsString() != vm.SerializeAsString()) {
    std::abort();
  }
  if (vmeventd::ListedVmField(field).empty()) std::abort();
}
