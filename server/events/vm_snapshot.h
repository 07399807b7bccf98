#ifndef VMEVENTD_SERVER_EVENTS_VM_SNAPSHOT_H_
#define VMEVENTD_SERVER_EVENTS_VM_SNAPSHOT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/strings/string_view.h"
#include "grpcpp/support/slice.h"
#include "server/events/vm_registry.h"

namespace vmeventd {

// Some VMs of a snapshot that follow each other, their encodings side by side, so that every stream
// that sends them shares one piece of memory. Immutable, so that any thread reads it without a
// lock.
class SnapshotChunk {
 public:
  using Memory = std::shared_ptr<std::atomic<size_t>>;

  // Counts what it costs in `memory` for as long as it lives.
  SnapshotChunk(std::vector<VmRecordPtr> vms, Memory memory);
  ~SnapshotChunk();
  SnapshotChunk(const SnapshotChunk&) = delete;
  SnapshotChunk& operator=(const SnapshotChunk&) = delete;

  size_t size() const { return vms_.size(); }
  const std::vector<VmRecordPtr>& vms() const { return vms_; }
  // The encodings of the VMs [from, to) as `snapshot_vms` fields. Shares the chunk's memory.
  grpc::Slice Encoded(size_t from, size_t to) const {
    return bytes_.sub(from == 0 ? 0 : ends_[from - 1], to == 0 ? 0 : ends_[to - 1]);
  }

 private:
  const std::vector<VmRecordPtr> vms_;
  std::vector<uint32_t> ends_;  // of their encodings, in bytes_
  grpc::Slice bytes_;
  size_t cost_ = 0;
  const Memory memory_;
};
using SnapshotChunkPtr = std::shared_ptr<const SnapshotChunk>;

// The VMs that run, in order, as they were at one moment. Snapshots of different moments share the
// chunks in which nothing changed. Immutable.
struct VmSnapshot {
  std::vector<SnapshotChunkPtr> chunks;
};
using VmSnapshotPtr = std::shared_ptr<const VmSnapshot>;

// Makes snapshots. One thread at a time, but for memory().
class SnapshotMaker {
 public:
  // `previous` may be null: nothing is shared then.
  VmSnapshotPtr Make(const std::vector<VmRecordPtr>& vms, const VmSnapshot* previous) const;
  // Memory of the chunks of all live snapshots, about.
  size_t memory() const { return memory_->load(std::memory_order_relaxed); }

 private:
  const SnapshotChunk::Memory memory_ = std::make_shared<std::atomic<size_t>>(0);
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_EVENTS_VM_SNAPSHOT_H_
