// Any row of the journal is read as an event, a VM, or neither; none crashes the daemon, and what
// was read is written back unchanged.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "server/events/event_codec.h"

extern "C" int Fuzz_journal_row(const uint8_t* data, size_t size) {
  const std::string row(reinterpret_cast<const char*>(data), size);
  const vmeventd::v1::Event event = vmeventd::DecodeEventField(row);
  std::string written;
  vmeventd::AppendEventField(event, &written);
  const vmeventd::v1::Event again = vmeventd::DecodeEventField(written);
  if (again.SerializeAsString() != event.SerializeAsString()) std::abort();
  if (vmeventd::VmInEventField(written).source != event.vm().source()) std::abort();
  if (vmeventd::VmInEventField(row).source.size() > row.size()) std::abort();

  const vmeventd::v1::Vm vm = vmeventd::DecodeSnapshotVmField(row);
  const std::string field = vmeventd::EncodeSnapshotVmField(vm);
  if (vmeventd::DecodeSnapshotVmField(field).SerializeAsString() != vm.SerializeAsString()) {
    std::abort();
  }
  if (vmeventd::ListedVmField(field).empty()) std::abort();
  return 0;
}
