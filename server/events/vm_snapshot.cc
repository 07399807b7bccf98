#include "server/events/vm_snapshot.h"

#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"

namespace vmeventd {
namespace {

// A chunk ends once it has so many bytes, ...
constexpr size_t kFullBytes = size_t{32} << 10;
// ... and before one of so many VMs, which its name picks: so a VM that comes or goes moves the
// borders up to the next such one, and no further.
constexpr size_t kVmsAChunk = 32;

bool BeginsChunk(const VmRecord& vm) {
  return absl::HashOf(vm.name(), vm.run_id()) % kVmsAChunk == 0;
}

}  // namespace

SnapshotChunk::SnapshotChunk(std::vector<VmRecordPtr> vms, Memory memory)
    : vms_(std::move(vms)), memory_(std::move(memory)) {
  std::string bytes;
  ends_.reserve(vms_.size());
  for (const VmRecordPtr& vm : vms_) {
    bytes += vm->encoded();
    ends_.push_back(static_cast<uint32_t>(bytes.size()));
  }
  bytes_ = grpc::Slice(bytes);
  // Where a VM has changed since, its record lives on for the chunk alone.
  cost_ = 2 * bytes.size() + vms_.size() * (sizeof(VmRecord) + sizeof(VmRecordPtr)) + sizeof(*this);
  memory_->fetch_add(cost_, std::memory_order_relaxed);
}

SnapshotChunk::~SnapshotChunk() { memory_->fetch_sub(cost_, std::memory_order_relaxed); }

VmSnapshotPtr SnapshotMaker::Make(const std::vector<VmRecordPtr>& vms,
                                  const VmSnapshot* previous) const {
  absl::flat_hash_map<const VmRecord*, const SnapshotChunkPtr*> before;  // by their first VM
  if (previous != nullptr) {
    for (const SnapshotChunkPtr& chunk : previous->chunks) before[chunk->vms()[0].get()] = &chunk;
  }
  auto snapshot = std::make_shared<VmSnapshot>();
  std::vector<VmRecordPtr> next;
  size_t bytes = 0;
  const auto add = [&] {
    const auto found = before.find(next[0].get());
    if (found != before.end() && (*found->second)->vms() == next) {
      snapshot->chunks.push_back(*found->second);
    } else {
      snapshot->chunks.push_back(std::make_shared<const SnapshotChunk>(next, memory_));
    }
    next.clear();
    bytes = 0;
  };
  for (const VmRecordPtr& vm : vms) {
    if (!next.empty() && (bytes >= kFullBytes || BeginsChunk(*vm))) add();
    next.push_back(vm);
    bytes += vm->encoded().size();
  }
  if (!next.empty()) add();
  return snapshot;
}

}  // namespace vmeventd
