#include "client/output/vm_rows.h"

#include <map>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "client/output/vm_uuids.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

bool HasStopped(const NodeVm& run) { return run.vm.state() == v1::VM_STATE_STOPPED; }

}  // namespace

NodeVms RowsOf(NodeVms runs, bool runs_known) {
  VmUuids uuids;
  for (const NodeVm& run : runs) {
    uuids.Add(VmUuids::PlaceOf(run.vm.ref(), run.node), run.vm.ref().uuid());
  }
  std::map<std::pair<VmUuids::Place, std::string>, NodeVm> rows;
  // Stopped runs come first, then those that live; of each group the newest is last.
  const auto rank = [](const NodeVm& run) {
    return std::pair(!HasStopped(run), FromTimestamp(run.vm.state_time()));
  };
  absl::c_stable_sort(runs, [&](const NodeVm& a, const NodeVm& b) { return rank(a) < rank(b); });
  NodeVms list;
  for (NodeVm& run : runs) {
    const VmUuids::Place place = VmUuids::PlaceOf(run.vm.ref(), run.node);
    NodeVm& row = rows[{place, uuids.Of(place, run.vm.ref().uuid())}];
    // A clone may have its original's path, and so its name: both live.
    if (!row.vm.ref().run_id().empty() && !HasStopped(row)) {
      list.push_back(std::exchange(row, {}));
      if (runs_known) row.ends = 0;
    }
    if (runs_known) row.ends = row.ends.value_or(0) + (HasStopped(run) ? 1 : 0);
    if (HasStopped(run)) {
      row.last_end = run.vm.shutdown();
      row.last_end_time = FromTimestamp(run.vm.state_time());
    }
    row.vm = std::move(run.vm);
    row.node = std::move(run.node);
  }
  for (auto& [key, row] : rows) list.push_back(std::move(row));
  return list;
}

}  // namespace vmeventd::client
