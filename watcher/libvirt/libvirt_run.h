#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/runs/vm_run.h"

namespace vmeventd {

class LibvirtSource;

// A run of a libvirt domain: a VmRun that hears of its QEMU through libvirt. Its process's end is
// the end of the run where the process can be seen, but a libvirt that is connected is given time
// to say how it came about; otherwise libvirt's word is the end. Loop thread.
class LibvirtRun : public VmRun {
 public:
  // Longest wait for libvirt's report of the end of a process that is gone: it tidies up first.
  static constexpr absl::Duration kReportWait = absl::Seconds(60);
  // Longest wait for it if what decides the end was seen already, or the VM has not arrived yet.
  static constexpr absl::Duration kReportWaitDecided = absl::Seconds(5);
  // Longest wait for the destroy of a container that failed or shut down, by libvirt's report: its
  // driver reports an end that it sees itself, and then its own destroy.
  static constexpr absl::Duration kDestroyWait = absl::Seconds(1);
  // Longest wait for a libvirt that is to be connected and to say how an earlier life ended.
  static constexpr absl::Duration kKeptEndWait = absl::Seconds(5);

  // The pointers outlive the run. `uuid` is the one that libvirt has for the domain.
  LibvirtRun(RunContext* context, Owner* owner, LibvirtSource* source, std::string uuid,
             VmSession session);
  ~LibvirtRun() override;

  // libvirt is connected and has the domain, with that id and in that run state.
  void OnListed(int64_t domain_id, const std::string& run_state, int64_t libvirtd_began_ns);
  // libvirt is connected, and the domain does not run.
  void OnNotListed();
  void OnQmpEvent(const QmpEvent& event) { HearEvent(event); }
  void OnStopped(const DomainLifecycle& lifecycle);
  // It is a container, and began again with that id and process; kind kUntracked: that is not seen.
  void OnRebooted(int64_t domain_id, PeerProcess next);
  void OnDetails(DomainDetails details);
  // Its process was looked for: it is not visible, which is a problem until it is found.
  void OnProcessMissing();
  void OnProcessFound(PeerProcess process);
  // libvirt's connection is a session of its own, which cannot be handed over.
  std::optional<HandedRun> HandOver() override;
  bool GoOn(HandedRun* handed) override;
  void OnRestored() override {
    if (followed() && process_ended()) AwaitKeptEnd();
  }
  void EndRestored() override { AwaitKeptEnd(); }
  // Waits for what libvirt may have kept of the end of a restored run whose process is gone.
  void AwaitKeptEnd();
  bool awaits_kept_end() const { return awaits_kept_end_; }
  void OnKeptEnd(const std::optional<ManagerEnd>& end, absl::string_view what);
  // The connection to libvirt ended; or its libvirt is gone for good.
  void OnLost(absl::string_view why);
  void OnLibvirtGone();
  const std::string& uuid() const { return uuid_; }
  // Returns whether libvirt has said that it stopped.
  bool reported() const { return reported_; }
  bool connected() const override { return connected_; }
  bool process_ended() const override { return awaits_kept_end_ || VmRun::process_ended(); }

 private:
  void OnProcessGone() override;
  void Ask(Question question) override;
  void ReadNow() override;
  void Disconnect() override { context_->loop->CancelTimer(&report_timer_); }

  // Waits at most `wait` for libvirt's report of the end of a process that is gone.
  void AwaitReport(absl::Duration wait);
  // Waits for how the process ended, which is gone; libvirt has nothing more to report.
  void AwaitEnd();
  // Ends the run likewise where the process may not be followed.
  void EndAsFarAsKnown();

  RunContext* const context_;
  LibvirtSource* const source_;
  const std::string uuid_;
  bool connected_ = false;
  bool was_connected_ = false;
  bool reported_ = false;  // libvirt has said that it stopped
  bool awaits_end_ = false;
  bool process_missing_ = false;  // that is its problem
  bool awaits_kept_end_ = false;
  TimerId report_timer_;
};

}  // namespace vmeventd
