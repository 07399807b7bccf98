// Any row of the journal is read as an event, a VM, or neither; none crashes the daemon, and what
// was read is written back unchanged.

#include <cstdlib>
#include <string>

#include "google/protobuf/util/message_differencer.h"
#include "server/events/event_codec.h"

namespace v1 = vmeventd::v1;

void Fuzz_journal_row(absl::string_view input) {
  const std::string row(input);
  v1::Event event = vmeventd::DecodeEventField(row);
  if (event.vm().ByteSizeLong() == 0) event.clear_vm();  // says nothing, and is not stored
  v1::Event rest = event;
  rest.clear_vm();
  rest.clear_durable();
  const std::string stored = vmeventd::Serialized(rest);
  const std::string vm_ref = vmeventd::Serialized(event.vm());
  std::string written;
  vmeventd::AppendStoredEvent({stored, vm_ref}, &written);
  event.set_durable(true);
  const v1::Event again = vmeventd::DecodeEventField(written);
  // Not by their bytes: the order of labels in them differs.
  using google::protobuf::util::MessageDifferencer;
  if (!MessageDifferencer::Equals(again, event)) std::abort();
  const vmeventd::StoredEvent read = vmeventd::StoredEventOf(written, stored.size());
  if (read.event != stored || read.vm_ref != vm_ref) std::abort();

  const auto vm = vmeventd::Parsed<v1::Vm>(row);
  const std::string field = vmeventd::EncodeSnapshotVmField(vm);
  const auto decoded = vmeventd::Parsed<v1::Vm>(vmeventd::MessageOfField(field));
  if (!MessageDifferencer::Equals(decoded, vm)) std::abort();
  if (vmeventd::ListedVmField(field).empty()) std::abort();
}
