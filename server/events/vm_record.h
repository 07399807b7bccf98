#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "base/uuid.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// Key of a VM, in the order in which VMs are listed. `path` distinguishes those that have no run_id
// yet; it is empty otherwise.
struct VmKey {
  absl::string_view name;
  absl::string_view run_id;
  absl::string_view path;
};
bool operator<(const VmKey& a, const VmKey& b);

// One VM as it was after one step: its encoding, and what queries look at. Immutable, so that any
// thread reads it without a lock.
struct VmRecord {
  explicit VmRecord(const v1::Vm& vm);

  VmKey key() const { return {name, run_id, run_id.empty() ? absl::string_view(path) : ""}; }
  bool stopped() const { return state == v1::VM_STATE_STOPPED; }

  const std::string encoded;  // a v1::Vm
  const std::string name;
  const std::string run_id;
  const std::string path;
  const std::string source;
  const std::optional<Uuid> uuid;  // unset: not known
  const v1::VmState state;
  const bool has_problems;
  const uint64_t last_sequence;
};

using VmRecordPtr = std::shared_ptr<const VmRecord>;

}  // namespace vmeventd
