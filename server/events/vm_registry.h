#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/strings/string_view.h"
#include "base/uuid.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// Key of an entry, in the order in which VMs are listed. `path` distinguishes entries that have no
// run_id yet; it is empty otherwise.
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

// The known VMs: all that have not stopped, and the last kMaxStopped that did. Not thread-safe; the
// owner locks.
class VmRegistry {
 public:
  static constexpr ptrdiff_t kMaxStopped = 10'000;

  // Replaces the entry of the same run. The first record with a run_id also replaces its socket's
  // entry without one.
  void Put(VmRecordPtr record);
  // Null: not known.
  VmRecordPtr Find(const VmKey& key) const {
    const auto found = records_.find(key);
    return found == records_.end() ? nullptr : found->second;
  }
  // Every entry with that name (empty: any) and that UUID, in order.
  std::vector<VmRecordPtr> Named(absl::string_view name, std::optional<Uuid> uuid) const;
  // The entries in order, beginning after `after` (null: at the first).
  std::vector<VmRecordPtr> ListAfter(const VmKey* after) const;
  // At most `limit` stopped VMs, the last to stop first.
  std::vector<VmRecordPtr> LastStopped(size_t limit) const;
  size_t running_count() const { return records_.size() - stopped_.size(); }

 private:
  // Drops an entry, if there is one.
  void Forget(const VmKey& key);

  absl::btree_map<VmKey, VmRecordPtr> records_;  // by views of the record itself
  // Stopped ones of records_, by their last sequence: first stopped, first out.
  std::set<std::pair<uint64_t, VmRecordPtr>> stopped_;
};

// The known VMs, stopped ones too, in order, at a sequence. Immutable.
struct VmSnapshot {
  std::vector<VmRecordPtr> vms;
  uint64_t sequence = 0;
  uint64_t version = 0;  // grows with each change of a VM
};
using VmSnapshotPtr = std::shared_ptr<const VmSnapshot>;

}  // namespace vmeventd
