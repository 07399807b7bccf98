#include "watcher/qmp/path_check.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "watcher/core/proto_time.h"
#include "watcher/qmp/path_conflicts.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/process.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

// Time for which a QEMU that ends may still live when the next one has started.
constexpr absl::Duration kGrace = absl::Seconds(10);
constexpr absl::Duration kRecheck = absl::Seconds(10);  // while QEMUs share a path
constexpr absl::Duration kScanTime = absl::Seconds(5);  // limit of waiting for command lines
constexpr absl::Duration kScanPoll = absl::Milliseconds(100);

constexpr char kPathLost[] =
    "another QEMU has bound or removed the path of its monitor, and vmeventd cannot connect to it "
    "again: at its next start, give each VM a path of its own";

}  // namespace

void PathCheck::OnBegun() { CheckIn(kGrace); }

void PathCheck::OnTaken() { CheckIn(kGrace); }

void PathCheck::OnFound(const QmpRun& run) {
  if (run.session().shares_path()) CheckIn(absl::ZeroDuration());
}

void PathCheck::OnOver(bool was_shared) {
  if (has_conflicts_ || was_shared) CheckIn(absl::ZeroDuration());
}

bool PathCheck::IsNamedAfterAnother(const QmpRun& run, absl::string_view qemu_name) const {
  constexpr size_t kMaxName = 200;
  const SocketSlot* const home = run.sockets().home;
  if (home->runs < 2 || qemu_name.empty() || qemu_name.size() > kMaxName ||
      absl::StrContains(qemu_name, '/') || qemu_name == run.info().raw_name) {
    return false;
  }
  const std::vector<VmRun*> runs = table_->RunsOf(source_);
  return std::any_of(runs.begin(), runs.end(), [&](VmRun* one) {
    const QmpRun& other = *static_cast<QmpRun*>(one);
    // The previous QEMU at this path may still be about to end.
    return &other != &run && other.sockets().home == home && other.published() &&
           !other.process_ended() && !other.session().decided() &&
           (other.info().pid == 0 || !IsDying(other.info().pid));
  });
}

void PathCheck::CheckIn(absl::Duration delay) {
  const absl::Duration at = context_->loop->Now().monotonic + delay;
  if (at >= check_at_) return;
  check_at_ = at;
  context_->loop->SetTimer(&timer_, at, [this] { Check(); });
}

void PathCheck::Check() {
  check_at_ = absl::InfiniteDuration();
  const absl::Duration now = context_->loop->Now().monotonic;
  if (qemus_ == nullptr && context_->options->command_lines != nullptr) {
    qemus_ = context_->options->command_lines->BeginMonitors();
    qemus_due_ = now + kScanTime;
  }
  if (qemus_ != nullptr && !qemus_->done() && now < qemus_due_) return CheckIn(kScanPoll);
  const std::shared_ptr<const NamedMonitors> found = std::exchange(qemus_, nullptr);
  Report(found == nullptr ? std::vector<NamedMonitors::Qemu>() : found->Qemus());
}

bool PathCheck::HasLostPath(const QmpRun& run) {
  const RunSockets& sockets = run.sockets();
  if (sockets.HasPresentSocket()) return false;
  if (run.session().shares_path()) return true;
  // A VM that comes from another QEMU of this node may have its path.
  const QmpRun* const holder = sockets.home->run();
  return sockets.path_taken && (holder == nullptr || !holder->session().incoming());
}

bool PathCheck::IsWithoutSocket(const QmpRun& run) const {
  const SocketSlot& home = *run.sockets().home;
  return run.session().restored_unattached() && !run.connected() && home.spec >= 0 &&
         source_->first_scan_done() && !home.present && !run.sockets().HasPresentSocket();
}

void PathCheck::Report(const std::vector<NamedMonitors::Qemu>& qemus) {
  std::vector<QmpRun*> runs;
  std::vector<FollowedVm> vms;
  for (VmRun* const one : table_->RunsOf(source_)) {
    const VmSession& session = one->session();
    // A VM that ends, or comes from another QEMU of this node, shares a path for a while.
    if (!one->published() || one->process_ended() || session.decided() || session.incoming()) {
      continue;
    }
    const RunInfo& info = one->info();
    runs.push_back(static_cast<QmpRun*>(one));
    vms.push_back({.name = info.raw_name,
                   .path = info.monitor_path,
                   .pid = info.pid,
                   .socket = InodeOf(info.socket),
                   .at_path = runs.back()->sockets().HasPresentSocket()});
  }
  PathConflicts conflicts = FindPathConflicts(vms, qemus);
  // IsDying() costs more, so it is called only for VMs with a problem.
  const size_t before = runs.size();
  for (size_t i = before; i-- > 0;) {
    const bool is_affected =
        !conflicts.of_vms[i].empty() || HasLostPath(*runs[i]) || IsWithoutSocket(*runs[i]);
    if (!is_affected || vms[i].pid == 0 || !IsDying(vms[i].pid)) continue;
    runs.erase(runs.begin() + static_cast<std::ptrdiff_t>(i));
    vms.erase(vms.begin() + static_cast<std::ptrdiff_t>(i));
  }
  if (runs.size() < before) conflicts = FindPathConflicts(vms, qemus);
  has_conflicts_ = !conflicts.hidden.empty();
  for (size_t i = 0; i < runs.size(); ++i) {
    has_conflicts_ |= !conflicts.of_vms[i].empty();
    const bool is_lost = conflicts.of_vms[i].empty() && HasLostPath(*runs[i]);
    SetProblem(runs[i], is_lost ? kPathLost : conflicts.of_vms[i]);
    if (!IsWithoutSocket(*runs[i])) continue;
    const RunInfo& info = runs[i]->info();
    runs[i]->ReportProblem(
        {info.lost_problem,
         absl::StrCat("vmeventd has not connected to the monitor since it started: there is no "
                      "socket at ",
                      info.monitor_path)});
  }
  std::map<int64_t, v1::UnfollowedSocket> hidden;
  for (const PathConflicts::Hidden& one : conflicts.hidden) {
    v1::UnfollowedSocket& listed = hidden[one.pid];
    listed.set_path(runs[one.holder]->info().monitor_path);
    listed.set_name(one.name);
    *listed.mutable_problem() = ToProto(Problem{ProblemCode::kSharedPath, one.problem});
    *listed.mutable_since() = ToTimestamp(context_->loop->Now().wall);
  }
  const std::vector<int64_t> added = unfollowed_->SetHidden(std::move(hidden));
  for (const PathConflicts::Hidden& one : conflicts.hidden) {
    if (!absl::c_linear_search(added, one.pid)) continue;
    spdlog::warn("{} (pid {}) is not followed: {}", one.name, one.pid, one.problem);
  }
  if (has_conflicts_) CheckIn(kRecheck);
}

void PathCheck::SetProblem(QmpRun* run, const std::string& problem) {
  const bool had = run->session().shares_path();
  if (!had && problem.empty()) return;
  if (!had) spdlog::warn("monitor of {}: {}", absl::Utf8SafeCHexEscape(run->info().name), problem);
  run->Feed(input::SharedPath{problem});
}

}  // namespace vmeventd
