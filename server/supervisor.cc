#include "server/supervisor.h"

#include <malloc.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "server/disk_wait.h"
#include "spdlog/spdlog.h"

namespace vmeventd {

Supervisor::Supervisor(const Clock* clock, EventLog* log, const StreamHub* hub)
    : clock_(clock), log_(log), hub_(hub) {}

void Supervisor::ServeUntilStop(NodeWatcher* watcher, GrpcServer* server) {
  Course course{.watcher = watcher, .server = server};
  course.now = course.ask_at = clock_->Now().monotonic;
  course.ready_by = course.now + kReadyTimeout;
  for (bool begins = false; AwaitTurn(course, &begins);) {
    course.now = clock_->Now().monotonic;
    if (begins) BeginServing(&course);
    if (!course.ready && (course.serving || course.now >= course.ready_by)) {
      course.ready = true;
      NotifyManager("READY=1", course);
    }
    if (course.now >= course.ask_at) AskWatcher(&course);
    if (course.now >= course.trim_at) {
      malloc_trim(0);
      course.trim_at = absl::InfiniteDuration();
    }
    const bool is_watched = watchdog_.turn() < absl::InfiniteDuration();
    if (course.ready && is_watched && watchdog_.Turn(course.now)) {
      NotifyManager("WATCHDOG=1", course);
      AskAllThreads(course);
    }
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
  pulse_.Answer();
  watchdog_.Answer(Watchdog::kWatcher);
  return stop_;
}

void Supervisor::OnPumpTurn() { watchdog_.Answer(Watchdog::kPump); }

bool Supervisor::AwaitTurn(const Course& course, bool* begins) {
  const absl::Duration next =
      std::min({course.ready ? watchdog_.turn() : course.ready_by - course.now,
                course.ask_at - course.now, course.trim_at - course.now});
  const MutexLock lock(&mutex_);
  *begins = WaitUntil(&changed_, &mutex_, next, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stop_ || (scanned_ && !course.serving);
  });
  return !stop_;
}

void Supervisor::BeginServing(Course* course) {
  // Attaching to thousands of VMs leaves as much freed memory behind as they need themselves.
  constexpr absl::Duration kSettleTime = absl::Seconds(10);
  spdlog::info("the first scan is done: serving");
  // A program that waits for SERVING then finds all lines of the start in the log.
  spdlog::default_logger()->flush();
  course->server->health().OnFirstScan();
  course->serving = true;
  course->trim_at = course->now + kSettleTime;
}

void Supervisor::AskWatcher(Course* course) {
  constexpr absl::Duration kAskInterval = absl::Seconds(1);
  course->ask_at = course->now + kAskInterval;
  if (pulse_.Ask() != course->silent) {
    course->silent = !course->silent;
    if (course->silent) {
      spdlog::error("the watcher has not responded for {} s: no VM is followed", Pulse::kQuestions);
      course->server->health().Report(NodeWatcher::NotServing());
    } else {
      spdlog::info("the watcher responds again");  // its next turn reports the sources
    }
    course->server->health().OnWatcher(!course->silent);
  }
  course->watcher->Wake();
}

void Supervisor::AskAllThreads(const Course& course) {
  course.watcher->Wake();
  log_->Wake();
  course.server->CallInTurn([this] { watchdog_.Answer(Watchdog::kAcceptor); });
}

void Supervisor::NotifyManager(const char* news, const Course& course) const {
  Notify(absl::StrCat(
      news, "\nSTATUS=", course.serving ? StatusText(course) : "the first scan is not done yet"));
}

std::string Supervisor::StatusText(const Course& course) const {
  const EventLog::State log = log_->state();
  std::string out =
      absl::StrCat("following ", log.vms, " VMs for ", hub_->stream_count(), " streams",
                   log.journal_writable ? "" : "; the journal cannot be written");
  for (const std::string& trouble : course.watcher->Troubles()) {
    absl::StrAppend(&out, "; ", trouble);
  }
  for (const ListenerState& listener : course.server->listeners()) {
    if (listener.listening) continue;
    absl::StrAppend(&out, "; not listening on ", listener.address.ToString());
  }
  return out;
}

}  // namespace vmeventd
