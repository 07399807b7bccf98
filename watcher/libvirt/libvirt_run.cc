#include "watcher/libvirt/libvirt_run.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "watcher/libvirt/libvirt_source.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/vm_run.h"

namespace vmeventd {
namespace {

// Time that a request about an intent may wait for what libvirt has already reported.
constexpr absl::Duration kMaxDrain = absl::Milliseconds(20);

}  // namespace

LibvirtRun::LibvirtRun(RunContext* context, RunTable* table, LibvirtSource* source,
                       std::string uuid, VmSession session)
    : VmRun(context, table, std::move(session)), source_(source), uuid_(std::move(uuid)) {}

LibvirtRun::~LibvirtRun() { LibvirtRun::Disconnect(); }

void LibvirtRun::OnListed(int64_t domain_id, const std::string& run_state) {
  if (awaits_end_) return;  // libvirt has not noticed the end yet
  if (domain_id != info().domain_id) Feed(input::NextId{domain_id});
  connected_ = was_connected_ = true;
  MonitorInfo info;
  info.run_state = run_state;
  info.uuid = uuid_;
  Feed(input::MonitorReady{info});
}

void LibvirtRun::OnNotListed() {
  // The process, if it can be seen, shows when the end comes.
  if (!tracked()) return End();
  if (process().gone()) return AwaitEnd();
  // A process without a descriptor may have ended. The loop reports the end of one with a
  // descriptor next.
  if (followed() && !process().ended())
    ReportProblem(
        {ProblemCode::kNotListed, "libvirt does not list the domain, but its QEMU still runs"});
}

void LibvirtRun::OnDetails(DomainDetails details) {
  Feed(input::NewLabels{std::move(details.labels)});
  Feed(input::AgentAnswer{details.agent});
}

void LibvirtRun::OnProcessMissing() {
  process_missing_ = true;
  ReportProblem({ProblemCode::kProcessNotVisible,
                 "its QEMU is not visible among the processes here: an end that libvirt does not "
                 "explain is UNKNOWN"});
}

void LibvirtRun::OnProcessFound(PeerProcess process) {
  TrackInstead(std::move(process)).IgnoreError();
  if (std::exchange(process_missing_, false) && !over()) ReportProblem({});
}

void LibvirtRun::OnStopped(const DomainLifecycle& lifecycle) {
  reported_ = was_connected_ = true;
  if (lifecycle.end.has_value()) {
    Feed(input::ReportedEnd{*lifecycle.end, absl::StrCat("libvirt: ", lifecycle.text)});
  }
  if (over()) return;
  if (info().is_container &&
      (lifecycle.end == ManagerEnd::kFailed || lifecycle.end == ManagerEnd::kShutdown)) {
    return AwaitReport(kDestroyWait);
  }
  if (!tracked()) return End();
  if (process().gone()) AwaitEnd();
}

void LibvirtRun::OnRebooted(int64_t domain_id, PeerProcess next) {
  context_->loop->CancelTimer(&report_timer_);
  Feed(input::NextId{domain_id});
  if (next.kind == PeerProcess::Kind::kTracked) {
    return TrackInstead(std::move(next)).IgnoreError();
  }
  if (!tracked()) return;
  process().Reset();
  LoseTracking();
}

std::optional<HandedRun> LibvirtRun::HandOver() {
  if (over() || !tracked() || !followed() || info().pid == 0) return std::nullopt;
  HandedRun handed;
  HandOverTo(&handed);
  return handed;
}

bool LibvirtRun::ResumeFrom(HandedRun* handed) {
  return session().restored_unattached() && tracked() && handed->process.valid() &&
         !handed->connection.valid() && TrackHanded(std::move(handed->process)).ok();
}

void LibvirtRun::OnLost(absl::string_view why) {
  if (!std::exchange(connected_, false)) return;
  // If its process was gone before, nothing of the VM's life was missed.
  if (process().gone()) return AwaitEnd();
  Feed(input::MonitorClosed{why});
}

void LibvirtRun::OnLibvirtGone() {
  if (!tracked()) End();
}

void LibvirtRun::OnProcessGone() {
  // A report of libvirt is being waited for, or the end is being asked for.
  if (report_timer_.serial != 0 || awaits_end_) return;
  // After a restart libvirt may have reported the end before it was connected.
  if (!was_connected_) {
    process().NoteUnseenEnd();
    return AwaitEnd();
  }
  if (!connected_ || reported_) return AwaitEnd();
  // libvirt reports no end of a restore that failed.
  const bool decided = !CheckIntent().ok() || session().incoming();
  AwaitReport(decided ? kReportWaitDecided : kReportWait);
}

void LibvirtRun::AwaitReport(absl::Duration wait) {
  context_->loop->SetTimerIn(&report_timer_, wait, [this] {
    if (!tracked()) return End();
    if (process().gone()) AwaitEnd();
  });
}

void LibvirtRun::AwaitEnd() {
  context_->loop->CancelTimer(&report_timer_);
  if (!std::exchange(awaits_end_, true)) process().AwaitEnd();
}

void LibvirtRun::Ask(Question question) {
  // libvirt reports the run state by itself.
  if (question == Question::kGuestAgent) source_->AskDetails(this);
}

void LibvirtRun::ReadNow() { source_->ReadNow(kMaxDrain); }

}  // namespace vmeventd
