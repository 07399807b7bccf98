#include "server/stop.h"

#include <unistd.h>

#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "base/thread_name.h"
#include "server/handover.h"
#include "server/host/service.h"
#include "spdlog/spdlog.h"
#include "watcher/runs/handed_run.h"

namespace vmeventd {
namespace {

// A step of the stop: the reason why the process is ended if it hangs, and the exit code then.
struct StopStep {
  const char* what;
  int exit_code = 1;
};

// Ends the process if `*step` is not null after `timeout`, on a thread of its own.
void EndAfter(absl::Duration timeout, const std::atomic<const StopStep*>* step) {
  std::thread([timeout, step] {
    SetThreadName("stop-deadline");
    absl::SleepFor(timeout);
    const StopStep* const hangs = step->load();
    if (hangs == nullptr) return;
    if (hangs->exit_code == 0) {
      spdlog::warn("stopping takes too long: {}; exiting anyway", hangs->what);
    } else {
      spdlog::error("stopping takes too long: {}; exiting with {}", hangs->what, hangs->exit_code);
    }
    spdlog::default_logger()->flush();
    _exit(hangs->exit_code);
  }).detach();
}

}  // namespace

void StopDaemon(const DaemonParts& parts) {
  const absl::Duration end = parts.clock->Now().monotonic + kStopTimeout;
  static constexpr StopStep kWatcher = {
      "the watcher hangs, in the file system of a watched directory or in /proc"};
  static constexpr StopStep kPump = {"the event pump hangs"};
  static constexpr StopStep kManager = {"the service manager does not answer", 0};
  static constexpr StopStep kStreams = {"streams do not close"};
  static constexpr StopStep kDisk = {
      "the disk of the state directory does not respond; events that were published as not durable "
      "may be lost"};
  static constexpr StopStep kDiskAfterHandover = {
      "the disk of the state directory does not respond; the next start writes what waits for it"};
  static constexpr StopStep kClient = {"a client does not close its connection", 0};
  static constexpr StopStep kScrape = {"a scrape of the metrics does not finish", 0};
  static std::atomic<const StopStep*> step = &kWatcher;
  EndAfter(kStopTimeout, &step);
  spdlog::info("stopping: sending the remaining events to {} streams", parts.hub->stream_count());
  (*parts.server)->health().OnStop();
  parts.service->SetWatcher(nullptr);  // refuses intents
  parts.watcher_thread->join();
  parts.watcher->RunOnce(absl::ZeroDuration());  // answers the intents that came in between
  parts.watcher->PublishRest();
  // Nothing is read any more; each monitor's socket holds its QEMU's messages.
  std::optional<OpenRuns> handed;
  if (HasServiceManager()) handed = parts.watcher->HandOver();
  // The streams get what was observed last even while the disk hangs.
  constexpr absl::Duration kWriteTime = absl::Seconds(2);
  step = &kPump;
  parts.log->Close(kWriteTime);
  bool is_stored = false;
  if (handed.has_value()) {
    step = &kManager;
    is_stored = StoreHandover(
        {.log = LogOf(*parts.log, *handed),
         .open = *std::move(handed),
         .exit_statuses = parts.watcher->exit_status_socket(),
         .trace = parts.trace == nullptr ? std::vector<int>() : parts.trace->descriptors()});
  }
  // The rest of the time is for the transport and for other calls. Connections without a call are
  // closed too, because their clients may not read.
  constexpr absl::Duration kShutdownTime = absl::Milliseconds(700);
  step = &kStreams;
  parts.hub->Drain(end - kShutdownTime - parts.clock->Now().monotonic);
  // Stops before the transport's shutdown, which waits for the queries that the history thread
  // answers.
  step = is_stored ? &kDiskAfterHandover : &kDisk;
  parts.log->Stop();
  // Everything is in the journal or handed over now, and was sent or dropped.
  step = &kClient;
  (*parts.server)->Shutdown(kShutdownTime / 2);
  step = &kScrape;
  parts.metrics_server->reset();
  step = &kClient;
  parts.server->reset();
  if (!parts.log->state().journal_writable && !is_stored) {
    spdlog::error(
        "events that were published as not durable are lost: the journal is still not writable");
  }
  step = nullptr;
  spdlog::info("stopped at sequence {}", parts.log->range().newest);
}

}  // namespace vmeventd
