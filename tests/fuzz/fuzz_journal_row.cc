// Any row of the journal is read as an event, a VM, or neither; none crashes the daemon, and what
// was read is written back unchanged.

#include <cstdlib>
#include <string>

#include "server/events/event_codec.h"

void Fuzz_journal_row(absl::string_view input) {
  const std::string row(input);
  vmeventd::v1::Event event = vmeventd::DecodeEventField(row);
  if (event.vm().ByteSizeLong() == 0) event.clear_vm();  // says nothing, and is not stored
  std::string written;
  const size_t size = vmeventd::AppendEventField(&event, &written);
  const vmeventd::v1::Event again = vmeventd::DecodeEventField(written);
  if (again.SerializeAsString() != event.SerializeAsString()) std::abort();
  const vmeventd::v1::VmRef& vm_ref = event.vm();
  const vmeventd::VmNames names = vmeventd::NamesOf(vmeventd::VmRefAtEnd(written, size));
  if (names.name != vm_ref.name() || names.source != vm_ref.source()) std::abort();

  const vmeventd::v1::Vm vm = vmeventd::DecodeSnapshotVmField(row);
  const std::string field = vmeventd::EncodeSnapshotVmField(vm);
  if (vmeventd::DecodeSnapshotVmField(field).SerializeAsString() != vm.SerializeAsString()) {
    std::abort();
  }
  if (vmeventd::ListedVmField(field).empty()) std::abort();
}
