#include "tests/support/vm_updates.h"

#include "absl/strings/str_cat.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

v1::Vm Status(const std::string& name, const std::string& run_id, VmState state) {
  v1::Vm status;
  status.mutable_ref()->set_name(name);
  status.mutable_ref()->set_run_id(run_id);
  status.mutable_ref()->set_pid(4711);
  status.mutable_ref()->set_source("qmp:/run/vms");
  status.set_state(ToProto(state));
  *status.mutable_state_time() = ToTimestamp(At(0));
  *status.mutable_start_time() = ToTimestamp(At(-60));
  status.set_qemu_version("7.2.22");
  status.set_monitor_path(absl::StrCat("/run/vms/", name, ".kvmd"));
  return status;
}

VmUpdate Update(const std::string& name, EventType type, absl::Time time) {
  VmUpdate update{.status = Status(name, absl::StrCat("run-", name)),
                  .event = MakeEvent(type, "something happened")};
  *update.event->mutable_observe_time() = ToTimestamp(time);
  return update;
}

VmUpdate UpdateFrom(const std::string& source, const std::string& name, EventType type) {
  VmUpdate update = Update(name, type);
  update.status->mutable_ref()->set_source(source);
  return update;
}

VmUpdate LargeUpdate(const std::string& name) {
  VmUpdate update = Update(name, EventType::kReset);
  update.event->set_detail_json(std::string(4000, 'x'));
  return update;
}

VmUpdate Stopped(const std::string& name, const std::string& run_id, ShutdownClass shutdown_class) {
  VmUpdate update = Update(name, EventType::kStopped);
  update.status = Status(name, run_id, VmState::kStopped);
  v1::ShutdownDetail& detail = *update.event->mutable_shutdown();
  detail.set_shutdown_class(ToProto(shutdown_class));
  detail.set_cause(ToProto(ShutdownCause::kGuestPoweroff));
  detail.set_rule("guest-shutdown");
  *detail.add_evidence()->mutable_time() = ToTimestamp(At(1));
  detail.mutable_evidence(0)->set_what("SHUTDOWN reason=guest-shutdown");
  detail.set_exit_unknown(true);
  *update.status->mutable_shutdown() = detail;
  return update;
}

}  // namespace vmeventd
