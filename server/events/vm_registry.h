#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/strings/string_view.h"
#include "base/uuid.h"
#include "server/events/vm_record.h"

namespace vmeventd {

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
  // The VMs that stopped last, at most `limit`, the latest first.
  std::vector<VmRecordPtr> LastStopped(size_t limit) const;
  size_t running_count() const { return records_.size() - stopped_.size(); }

 private:
  // Drops an entry, if there is one.
  void Forget(const VmKey& key);

  absl::btree_map<VmKey, VmRecordPtr> records_;  // by views of the record itself
  // Stopped ones of records_, by their last sequence: first stopped, first out.
  std::set<std::pair<uint64_t, VmRecordPtr>> stopped_;
};

}  // namespace vmeventd
