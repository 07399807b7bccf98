#include "watcher/runs/handed_run.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "watcher/session/run_archive.h"

namespace vmeventd {
namespace {

// Lists the fields for both archives; `Run` is const for a writer.
template <typename Archive, typename Run>
void Fields(Archive* archive, Run* run) {
  archive->Field("run_id", run->run_id);
  archive->Field("saved", run->saved);
  archive->FieldIf("pid", run->pid);
  archive->FieldIf("wait_status", run->wait_status);
  auto* const session = &run->session;
  archive->FieldIf("poll_at", session->poll_at, session->poll_at < absl::InfiniteDuration());
  archive->FieldIf("last_reset", session->last_reset,
                   session->last_reset > -absl::InfiniteDuration());
  archive->FieldIf("file_written", session->file_written);
  auto* const monitor = &run->monitor;
  archive->RawBytes("unhandled", monitor->unhandled);
  archive->Field("speaker_pid", monitor->speaker_pid);
  archive->Field("speaker_uid", monitor->speaker_uid);
  archive->FieldIf("answer_due", monitor->answer_due);
  archive->FieldIf("ending", monitor->ending);
  archive->FieldIf("status_wanted", monitor->status_wanted);
  archive->FieldIf("agent_wanted", monitor->agent_wanted);
  archive->Field("socket_owner", run->socket_owner);
}

}  // namespace

std::string WriteHandedRun(const HandedRun& run) {
  ArchiveWriter archive;
  Fields(&archive, &run);
  return std::move(archive).Take();
}

absl::StatusOr<HandedRun> ReadHandedRun(absl::string_view text) try {
  ArchiveReader archive(text);
  HandedRun run;
  Fields(&archive, &run);
  if (run.monitor.unhandled.str().size() > HandedMonitor::kMaxUnhandled) {
    return absl::InvalidArgumentError("more is not handled than a daemon hands over");
  }
  return run;
} catch (const ArchiveReader::Json::exception& error) {
  return absl::InvalidArgumentError(absl::StrCat("not a run that was handed over: ", error.what()));
}

}  // namespace vmeventd
