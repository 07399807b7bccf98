#include "watcher/libvirt/libvirt_run.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace vmeventd {

LibvirtRun::LibvirtRun(RunContext* context, Owner* owner, Source* source, std::string uuid,
                       VmSession session)
    : VmRun(context, owner, std::move(session)),
      context_(context),
      source_(source),
      uuid_(std::move(uuid)) {}

LibvirtRun::~LibvirtRun() { LibvirtRun::Disconnect(); }

void LibvirtRun::Disconnect() { context_->loop->CancelTimer(&report_timer_); }

void LibvirtRun::OnListed(const std::string& run_state, int64_t libvirtd_began_ns) {
  connected_ = was_connected_ = true;
  MonitorInfo info;
  info.run_state = run_state;
  info.uuid = uuid_;
  info.libvirtd_began_ns = libvirtd_began_ns;
  Apply(session().OnMonitorReady(info, Now()));
}

void LibvirtRun::OnNotListed() {
  // Its process shows when the end comes, if it can be seen.
  if (!tracked() || awaits_kept_end_) return End();
  if (process().gone()) return AwaitEnd();
  // Without a descriptor nobody knows yet.
  if (followed()) ReportProblem("libvirt does not list the domain, and its QEMU still runs");
}

void LibvirtRun::OnQmpEvent(const QmpEvent& event) { HearEvent(event); }

void LibvirtRun::OnDetails(DomainDetails details) {
  Apply(session().OnLabels(std::move(details.labels), Now()));
  Apply(session().OnGuestAgent(details.agent, Now()));
}

void LibvirtRun::OnStopped(const DomainLifecycle& lifecycle) {
  if (awaits_kept_end_) return End();  // of it, or of the domain's next life
  reported_ = true;
  if (lifecycle.end.has_value()) {
    Apply(session().OnManagerEnd(*lifecycle.end, absl::StrCat("libvirt: ", lifecycle.text), Now()));
  }
  if (over()) return;
  if (lifecycle.end == ManagerEnd::kFailed && info().reported_by == ReportedBy::kContainerLibvirt) {
    return AwaitReport(kReportWaitFailed);
  }
  if (!tracked()) return End();
  if (process().gone()) AwaitEnd();
}

void LibvirtRun::OnRebooted(int64_t domain_id, PeerProcess next) {
  context_->loop->CancelTimer(&report_timer_);
  Apply(session().OnNextId(domain_id));
  if (next.kind == PeerProcess::Kind::kTracked) return TrackInstead(std::move(next)).IgnoreError();
  if (!tracked()) return;
  process().Reset({});
  LoseTracking();
}

void LibvirtRun::AwaitKeptEnd() {
  if (session().decided()) return End();
  awaits_kept_end_ = true;
  report_timer_ = context_->loop->AddTimer(Now().monotonic + kKeptEndWait, [this] {
    report_timer_ = {};
    End();
  });
}

void LibvirtRun::OnKeptEnd(const std::optional<ManagerEnd>& end, absl::string_view what) {
  Apply(session().OnKeptEnd(end, what, Now()));
  if (!over()) End();
}

void LibvirtRun::OnLost(absl::string_view why) {
  if (awaits_kept_end_) return End();
  if (!std::exchange(connected_, false)) return;
  Apply(session().OnMonitorClosed(why, Now()));
  if (!over() && process().gone()) AwaitEnd();
}

void LibvirtRun::OnLibvirtGone() {
  if (!tracked() || awaits_kept_end_) End();
}

void LibvirtRun::LeaveProcess() {
  process().Reset({});
  LoseTracking();
  if (!over()) End();
}

void LibvirtRun::OnProcessGone() {
  if (report_timer_.serial != 0) return;  // it has failed, and more may follow
  // A daemon that was started again has not heard yet what libvirt does.
  if (!was_connected_) process().NoteUnseenEnd();
  if (!connected_ || reported_) return AwaitEnd();
  // Of a restore that failed libvirt reports no end.
  const bool decided = !CheckIntent().ok() || session().incoming();
  AwaitReport(decided ? kReportWaitDecided : kReportWait);
}

void LibvirtRun::AwaitReport(absl::Duration wait) {
  context_->loop->CancelTimer(&report_timer_);
  report_timer_ = context_->loop->AddTimer(Now().monotonic + wait, [this] {
    report_timer_ = {};
    if (!tracked()) return End();
    if (process().gone()) AwaitEnd();
  });
}

void LibvirtRun::AwaitEnd() {
  context_->loop->CancelTimer(&report_timer_);
  if (!std::exchange(awaits_end_, true)) process().AwaitEnd();
}

void LibvirtRun::AskGuestAgent() { source_->AskDetails(this); }

void LibvirtRun::ReadNow(absl::Duration limit) { source_->ReadNow(limit); }

}  // namespace vmeventd
