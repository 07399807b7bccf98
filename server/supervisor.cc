#include "server/supervisor.h"

#include <malloc.h>

#include "absl/strings/str_cat.h"
#include "server/host/pulse.h"
#include "server/host/service.h"
#include "spdlog/spdlog.h"

namespace vmeventd {

Supervisor::Supervisor(const Clock* clock, EventLog* log, const StreamHub* hub)
    : clock_(clock), log_(log), hub_(hub), course_(WatchdogInterval()) {}

void Supervisor::ServeUntilStop(NodeWatcher* watcher, GrpcServer* server) {
  for (bool scanned = false; AwaitTurn(&scanned);) {
    Act(course_.Turn(clock_->Now().monotonic, scanned), watcher, server);
  }
}

void Supervisor::RequestStop() {
  const MutexLock lock(&mutex_);
  stop_ = true;
  changed_.NotifyAll();
}

bool Supervisor::OnWatcherTurn(bool first_scan_done) {
  const MutexLock lock(&mutex_);
  if (!scanned_ && first_scan_done) {
    scanned_ = true;
    changed_.NotifyAll();
  }
  course_.OnWatcherTurn();
  return stop_;
}

void Supervisor::OnPumpTurn() { course_.OnPumpTurn(); }

bool Supervisor::AwaitTurn(bool* scanned) {
  const MutexLock lock(&mutex_);
  WaitUntil(&changed_, &mutex_, course_.TimeToTurn(), [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stop_ || (scanned_ && !course_.serving());
  });
  *scanned = scanned_;
  return !stop_;
}

void Supervisor::Act(const ServiceCourse::Actions& actions, NodeWatcher* watcher,
                     GrpcServer* server) {
  if (actions.begin_serving) BeginServing(server);
  if (actions.notify_ready) NotifyManager("READY=1", *watcher, *server);
  if (actions.watcher_fell_silent) ReportSilence(server);
  if (actions.watcher_responds_again) ReportResponse(server);
  if (actions.wake_watcher) watcher->Wake();
  if (actions.trim_memory) malloc_trim(0);
  if (actions.notify_alive) {
    NotifyManager("WATCHDOG=1", *watcher, *server);
    AskAllThreads(watcher, server);
  }
}

void Supervisor::BeginServing(GrpcServer* server) {
  spdlog::info("the first scan is done: serving");
  // A program that waits for SERVING then finds all lines of the start in the log.
  spdlog::default_logger()->flush();
  server->health().OnFirstScan();
}

void Supervisor::ReportSilence(GrpcServer* server) {
  spdlog::error("the watcher has not responded for {} s: no VM is followed", Pulse::kQuestions);
  server->health().Report(NodeWatcher::NotServing());
  server->health().OnWatcher(false);
}

void Supervisor::ReportResponse(GrpcServer* server) {
  spdlog::info("the watcher responds again");  // its next turn reports the sources
  server->health().OnWatcher(true);
}

void Supervisor::AskAllThreads(NodeWatcher* watcher, GrpcServer* server) {
  watcher->Wake();
  log_->Wake();
  server->CallInTurn([this] { course_.OnAcceptorTurn(); });
}

void Supervisor::NotifyManager(const char* news, const NodeWatcher& watcher,
                               const GrpcServer& server) const {
  Notify(absl::StrCat(
      news, "\nSTATUS=",
      course_.serving() ? StatusText(watcher, server) : "the first scan is not done yet"));
}

std::string Supervisor::StatusText(const NodeWatcher& watcher, const GrpcServer& server) const {
  const EventLog::State log = log_->state();
  std::string out =
      absl::StrCat("following ", log.vms, " VMs for ", hub_->stream_count(), " streams",
                   log.journal_writable ? "" : "; the journal cannot be written");
  for (const std::string& trouble : watcher.Troubles()) {
    absl::StrAppend(&out, "; ", trouble);
  }
  for (const ListenerState& listener : server.listeners()) {
    if (listener.listening) continue;
    absl::StrAppend(&out, "; not listening on ", listener.address.ToString());
  }
  return out;
}

}  // namespace vmeventd
