#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/strings/string_view.h"
#include "base/uuid.h"
#include "grpcpp/support/slice.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

// Key of an entry, in the order in which VMs are listed. `path` separates entries that
// have no run_id yet; it is empty otherwise.
struct VmKey {
  absl::string_view name;
  absl::string_view run_id;
  absl::string_view path;
};
bool operator<(const VmKey& a, const VmKey& b);

// One VM as it was after one step: its encoding, and what queries look at. Immutable, so that any
// thread reads it without a lock.
class VmRecord {
 public:
  explicit VmRecord(const v1::Vm& vm);
  VmRecord(const VmRecord&) = delete;
  VmRecord& operator=(const VmRecord&) = delete;

  VmKey key() const { return {name_, run_id_, run_id_.empty() ? path() : ""}; }
  absl::string_view name() const { return name_; }
  absl::string_view run_id() const { return run_id_; }
  absl::string_view path() const { return path_; }
  absl::string_view source() const { return source_; }
  std::optional<Uuid> uuid() const { return uuid_; }  // unset: not known
  v1::VmState state() const { return state_; }
  bool stopped() const { return state_ == v1::VM_STATE_STOPPED; }
  bool has_problems() const { return has_problems_; }
  uint64_t last_sequence() const { return last_sequence_; }
  // One `snapshot_vms` field of WatchEventsResponse; the slice shares its memory.
  absl::string_view encoded() const {
    return {reinterpret_cast<const char*>(encoded_.begin()), encoded_.size()};
  }
  const grpc::Slice& slice() const { return encoded_; }

 private:
  const grpc::Slice encoded_;
  const std::string name_;
  const std::string run_id_;
  const std::string path_;
  const std::string source_;
  const std::optional<Uuid> uuid_;
  const v1::VmState state_;
  const bool has_problems_;
  const uint64_t last_sequence_;
};

using VmRecordPtr = std::shared_ptr<const VmRecord>;

// The VMs that are known: every one that is not stopped, and the `max_stopped` that stopped last.
// Not thread-safe; the owner locks.
class VmRegistry {
 public:
  explicit VmRegistry(size_t max_stopped) : max_stopped_(max_stopped) {}

  // Replaces the entry of the same run. The first record with a run_id also replaces its socket's
  // entry without one.
  void Put(VmRecordPtr record);
  // Null: not known.
  VmRecordPtr Find(const VmKey& key) const {
    const auto found = records_.find(key);
    return found == records_.end() ? nullptr : *found;
  }
  // Every entry of that name, in order.
  std::vector<VmRecordPtr> Named(absl::string_view name) const;
  std::vector<VmRecordPtr> WithUuid(const Uuid& uuid) const;  // looks at each
  // The entries in order, beginning after `after` (null: at the first).
  std::vector<VmRecordPtr> ListAfter(const VmKey* after) const;
  // At most `limit` stopped VMs, the last to stop first.
  std::vector<VmRecordPtr> LastStopped(size_t limit) const;
  size_t running_count() const { return records_.size() - stopped_.size(); }

 private:
  struct Order {
    using is_transparent = void;
    bool operator()(const VmRecordPtr& a, const VmRecordPtr& b) const {
      return a->key() < b->key();
    }
    bool operator()(const VmRecordPtr& a, const VmKey& b) const { return a->key() < b; }
    bool operator()(const VmKey& a, const VmRecordPtr& b) const { return a < b->key(); }
  };
  using Records = absl::btree_set<VmRecordPtr, Order>;

  // Drops an entry, if there is one.
  void Forget(const VmKey& key);

  const size_t max_stopped_;
  Records records_;
  // Stopped ones of records_, by their last sequence: first stopped, first out.
  std::set<std::pair<uint64_t, VmRecordPtr>> stopped_;
};

// The VMs that run, in order, as of a sequence. Immutable.
struct VmSnapshot {
  std::vector<VmRecordPtr> vms;
  uint64_t sequence = 0;
  uint64_t version = 0;  // grows with each change of a VM
};
using VmSnapshotPtr = std::shared_ptr<const VmSnapshot>;

}  // namespace vmeventd
