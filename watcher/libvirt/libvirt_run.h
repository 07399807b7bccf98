#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "watcher/core/qmp_message.h"
#include "watcher/libvirt/domain_xml.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/peer_process.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/run_table.h"
#include "watcher/runs/vm_run.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

class LibvirtSource;

// A run of a libvirt domain: a VmRun whose QEMU events come through libvirt. If the process can be
// seen, its end is the end of the run, but a connected libvirt first gets time to report the
// reason. Otherwise libvirt's report is the end. Loop thread.
class LibvirtRun : public VmRun {
 public:
  // Longest wait for libvirt's report after the process is gone: libvirt cleans up before it
  // reports.
  static constexpr absl::Duration kReportWait = absl::Seconds(60);
  // Longest wait for this report if the evidence already decides the end, or if the VM has not
  // arrived yet (incoming migration or restore).
  static constexpr absl::Duration kReportWaitDecided = absl::Seconds(5);
  // Longest wait for libvirt's report that a container was destroyed, after it reported that the
  // container failed or shut down: for a destroy, the driver first reports the end that it sees,
  // and then the destroy.
  static constexpr absl::Duration kDestroyWait = absl::Seconds(1);

  // The objects behind the pointers must outlive the run. `uuid` is the domain's UUID in libvirt.
  LibvirtRun(RunContext* context, RunTable* table, LibvirtSource* source, std::string uuid,
             VmSession session);
  ~LibvirtRun() override;

  // Call it when libvirt is connected and runs the domain, with this id and in this run state.
  void OnListed(int64_t domain_id, const std::string& run_state);
  // Call it when libvirt is connected and the domain does not run.
  void OnNotListed();
  void OnQmpEvent(const QmpEvent& event) { HandleQmpEvent(event); }
  void OnPaused(const DomainLifecycle& lifecycle) {
    Feed(input::ReportedPause{lifecycle.paused_for});
  }
  void OnStopped(const DomainLifecycle& lifecycle);
  // Call it when the domain is a container that has rebooted, and now has this id and process;
  // kUntracked: the process cannot be seen.
  void OnRebooted(int64_t domain_id, PeerProcess next);
  void OnDetails(DomainDetails details);
  // Call it when the domain's process was looked for and is not visible. This is a problem of the
  // run until the process is found.
  void OnProcessMissing();
  void OnProcessFound(PeerProcess process);
  // Hands over only the process: a connection to libvirt cannot be handed over.
  std::optional<HandedRun> HandOver() override;
  bool ResumeFrom(HandedRun* handed) override;
  // OnLost(): the connection to libvirt is lost. OnLibvirtGone(): its libvirt is gone for good.
  void OnLost(absl::string_view why);
  void OnLibvirtGone();
  const std::string& uuid() const { return uuid_; }
  // Returns whether libvirt has reported that the domain stopped.
  bool reported() const { return reported_; }
  bool connected() const override { return connected_; }

 private:
  void OnProcessGone() override;
  void Ask(Question question) override;
  void ReadNow() override;
  void Disconnect() override { context_->loop->CancelTimer(&report_timer_); }

  // Waits at most `wait` for libvirt's report; the process is gone.
  void AwaitReport(absl::Duration wait);
  // The process is gone, and libvirt has nothing more to report: waits for the exit status.
  void AwaitEnd();

  LibvirtSource* const source_;
  const std::string uuid_;
  bool connected_ = false;
  bool was_connected_ = false;
  bool reported_ = false;  // libvirt has reported that the domain stopped
  bool awaits_end_ = false;
  bool process_missing_ = false;  // the present problem is that the process is not visible
  TimerId report_timer_;
};

}  // namespace vmeventd
