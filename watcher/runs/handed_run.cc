#include "watcher/runs/handed_run.h"

#include "absl/status/status.h"
#include "vmeventd/internal/run_state.pb.h"

namespace vmeventd {

std::string WriteHandedRun(const HandedRun& run) {
  internal::HandedRun out;
  out.set_run_id(run.run_id);
  out.set_saved(run.saved);
  out.set_pid(run.pid);
  if (run.wait_status.has_value()) out.set_wait_status(*run.wait_status);
  const HandedSession& session = run.session;
  if (session.poll_at < absl::InfiniteDuration()) {
    out.set_poll_at(absl::ToInt64Nanoseconds(session.poll_at));
  }
  if (session.last_reset > -absl::InfiniteDuration()) {
    out.set_last_reset(absl::ToInt64Nanoseconds(session.last_reset));
  }
  out.set_file_written(session.file_written);
  out.set_unhandled(std::string(run.monitor.unhandled));
  out.set_speaker_pid(run.monitor.speaker_pid);
  out.set_answer_due(run.monitor.answer_due);
  out.set_ending(run.monitor.ending);
  out.set_status_wanted(run.monitor.status_wanted);
  out.set_agent_wanted(run.monitor.agent_wanted);
  out.set_socket_owner(run.socket_owner);
  return out.SerializeAsString();
}

absl::StatusOr<HandedRun> ReadHandedRun(absl::string_view text) {
  internal::HandedRun in;
  if (!in.ParseFromArray(text.data(), static_cast<int>(text.size())) || in.run_id().empty()) {
    return absl::InvalidArgumentError("not a run that was handed over");
  }
  if (in.unhandled().size() > HandedMonitor::kMaxUnhandled) {
    return absl::InvalidArgumentError("more is not handled than a daemon hands over");
  }
  HandedRun run;
  run.run_id = in.run_id();
  run.saved = in.saved();
  run.pid = in.pid();
  if (in.has_wait_status()) run.wait_status = in.wait_status();
  if (in.has_poll_at()) run.session.poll_at = absl::Nanoseconds(in.poll_at());
  if (in.has_last_reset()) run.session.last_reset = absl::Nanoseconds(in.last_reset());
  run.session.file_written = in.file_written();
  run.monitor = {.unhandled = std::string(in.unhandled()),
                 .speaker_pid = in.speaker_pid(),
                 .answer_due = in.answer_due(),
                 .ending = in.ending(),
                 .status_wanted = in.status_wanted(),
                 .agent_wanted = in.agent_wanted()};
  run.socket_owner = in.socket_owner();
  return run;
}

}  // namespace vmeventd
