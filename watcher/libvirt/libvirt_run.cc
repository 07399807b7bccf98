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

void LibvirtRun::OnListed(const std::string& run_state) {
  connected_ = true;
  MonitorInfo info;
  info.run_state = run_state;
  info.uuid = uuid_;
  Apply(session().OnMonitorReady(info, Now()));
}

void LibvirtRun::OnNotListed() {
  // Its process shows when the end comes, if it can be seen.
  if (!tracked()) return End();
  if (process().gone()) return AwaitEnd();
  // Without a descriptor nobody knows yet.
  if (followed()) ReportProblem("libvirt does not list the domain, and its QEMU still runs");
}

void LibvirtRun::OnQmpEvent(const QmpEvent& event) { HearEvent(event); }

void LibvirtRun::OnGuestAgent(const GuestAgentInfo& info) {
  Apply(session().OnGuestAgent(info, Now()));
}

void LibvirtRun::OnStopped(const DomainLifecycle& lifecycle) {
  reported_ = true;
  if (lifecycle.end.has_value()) {
    Apply(session().OnManagerEnd(*lifecycle.end, absl::StrCat("libvirt: ", lifecycle.text), Now()));
  }
  if (over()) return;
  if (!tracked()) return End();
  if (process().gone()) AwaitEnd();
}

void LibvirtRun::OnLost(absl::string_view why) {
  if (!std::exchange(connected_, false)) return;
  Apply(session().OnMonitorClosed(why, Now()));
  if (!over() && process().gone()) AwaitEnd();
}

void LibvirtRun::OnLibvirtGone() {
  if (!tracked()) End();
}

void LibvirtRun::LeaveProcess() {
  process().Reset({});
  LoseTracking();
  if (!over()) End();
}

void LibvirtRun::OnProcessGone() {
  if (!connected_ || reported_) return AwaitEnd();
  // Of a restore that failed libvirt reports no end.
  const bool decided = !CheckIntent().ok() || session().incoming();
  const absl::Duration wait = decided ? kReportWaitDecided : kReportWait;
  report_timer_ = context_->loop->AddTimer(Now().monotonic + wait, [this] {
    report_timer_ = {};
    AwaitEnd();
  });
}

void LibvirtRun::AwaitEnd() {
  context_->loop->CancelTimer(&report_timer_);
  if (!std::exchange(awaits_end_, true)) process().AwaitEnd();
}

void LibvirtRun::AskGuestAgent() { source_->AskGuestAgent(this); }

void LibvirtRun::ReadNow(absl::Duration limit) { source_->ReadNow(limit); }

}  // namespace vmeventd
