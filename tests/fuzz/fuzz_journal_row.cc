// Any row of the journal is read as an event, a VM, or neither; none crashes the daemon, and what
// was read is written back unchanged.

#include <cstdlib>
#include <string>

#include "google/protobuf/util/message_differencer.h"
#include "server/events/event_codec.h"

void Fuzz_journal_row(absl::string_view input) {
  const std::string row(input);
  vmeventd::v1::Event event = vmeventd::DecodeEventField(row);
  if (event.vm().ByteSizeLong() == 0) event.clear_vm();  // says nothing, and is not stored
  std::string written;
  const size_t size = vmeventd::AppendEventField(event, &written);
  event.set_durable(true);
  const vmeventd::v1::Event again = vmeventd::DecodeEventField(written);
  // Not by their bytes: the order of labels in them differs.
  using google::protobuf::util::MessageDifferencer;
  if (!MessageDifferencer::Equals(again, event)) std::abort();
  const vmeventd::v1::VmRef& vm_ref = event.vm();
  const vmeventd::VmNames names = vmeventd::NamesOf(vmeventd::StoredEventOf(written, size).vm_ref);
  if (names.name != vm_ref.name() || names.source != vm_ref.source()) std::abort();

  const vmeventd::v1::Vm vm = vmeventd::DecodeSnapshotVmField(row);
  const std::string field = vmeventd::EncodeSnapshotVmField(vm);
  if (!MessageDifferencer::Equals(vmeventd::DecodeSnapshotVmField(field), vm)) std::abort();
  if (vmeventd::ListedVmField(field).empty()) std::abort();
}
