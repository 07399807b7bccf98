#include "watcher/runs/process_watch.h"

#include <sys/epoll.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/proc_texts.h"
#include "watcher/runs/process.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/run_table.h"
#include "watcher/runs/vm_run.h"

namespace vmeventd {
namespace {

// Longest time for which the end of a run waits for the exit status, if the kernel does not have it
// yet.
constexpr absl::Duration kStatusWait = absl::Milliseconds(100);
// The same where only the parent's wait(2) shows the status, and nothing else decides the class: a
// parent may be busy. The end comes before its monitor counts as lost (MonitorLink::kLostGrace).
// The status of a zombie that is reaped later stays unknown.
constexpr absl::Duration kReapWait = absl::Milliseconds(900);
constexpr absl::Duration kFirstStatusWait = absl::Milliseconds(1);
constexpr absl::Duration kLastStatusWait = absl::Milliseconds(50);

}  // namespace

ProcessWatch::~ProcessWatch() {
  if (status_wait_.has_value()) context_->loop->CancelTimer(&status_wait_->timer);
  Release();
}

absl::Status ProcessWatch::Follow(PeerProcess process) {
  if (absl::Status status = context_->loop->Add(process.pidfd.get(), EPOLLIN, this); !status.ok()) {
    return status;
  }
  pidfd_ = std::move(process.pidfd);
  ++context_->vm_descriptors;
  context_->exit_statuses->Follow(run_->info().pid);
  context_->signals->Follow(run_->info().pid, run_->info().start_ticks, this);
  return absl::OkStatus();
}

void ProcessWatch::RefreshOrigin() { context_->signals->RefreshOrigin(run_->info().pid, this); }

void ProcessWatch::NoteUnseenEnd() {
  end_unseen_ = HasEnded(pidfd_.get()) || IsDying(run_->info().pid);
}

void ProcessWatch::NoteFound() {
  NoteUnseenEnd();
  found_ended_ = end_unseen_;
}

void ProcessWatch::Reset() {
  Release();
  gone_ = end_unseen_ = found_ended_ = false;
  kill_unclear_.clear();
}

UniqueFd ProcessWatch::Release() {
  UniqueFd pidfd = std::move(pidfd_);
  if (!pidfd.valid()) return pidfd;
  if (!gone_) context_->loop->Remove(pidfd.get());
  --context_->vm_descriptors;
  context_->exit_statuses->Unfollow(run_->info().pid);
  context_->signals->Unfollow(run_->info().pid, this);
  return pidfd;
}

void ProcessWatch::OnFdReady(uint32_t) {
  // The kernel records a signal before it delivers it; the host says that it shuts down before it
  // ends anything for that.
  context_->signals->Drain();
  context_->host->Drain();
  context_->loop->Remove(pidfd_.get());
  gone_ = true;
  run_->OnProcessGone();
}

// Returns whether a record of a kill may be about another process: this one ended while nobody
// watched, so its pid may have been reused, and its exit status does not show a kill.
bool ProcessWatch::MayBeAnothers() const {
  if (!end_unseen_) return false;
  const std::optional<ExitStatus> status = AskNow().status;
  return !status.has_value() || status->signal != SIGKILL;
}

// Ignores signals after the process is gone, because its pid may be reused.
void ProcessWatch::OnSignal(const SignalSender& sender) {
  if (gone_ || (sender.signal == SIGKILL && MayBeAnothers())) return;
  run_->Feed(input::SignalSent{sender});
}

void ProcessWatch::OnUnclearSignal(int signal, const std::string& why) {
  if (gone_ || (signal != SIGKILL && signal != SIGQUIT)) return;
  if (signal == SIGQUIT || !MayBeAnothers()) kill_unclear_ = why;
}

void ProcessWatch::OnOomVictim(const OomVictim& victim) {
  if (!gone_ && !MayBeAnothers()) run_->Feed(input::NamedOomVictim{victim});
}

std::optional<uint64_t> ProcessWatch::ReadOomKillsOfOthers() const {
  const std::optional<uint64_t> kills = ReadOomKills();
  // A process that was killed lives on until it has exited.
  if (!kills.has_value() || *kills == run_->info().oom_kills || !pidfd_.valid() ||
      IsDying(run_->info().pid) || HasEnded(pidfd_.get())) {
    return std::nullopt;
  }
  return kills;
}

void ProcessWatch::AwaitEnd() {
  status_wait_ = StatusWait{.begin = context_->loop->Now().monotonic, .backoff = kFirstStatusWait};
  AskExitStatus();
}

ExitStatusReader::Answer ProcessWatch::AskNow() const {
  return context_->exit_statuses->Ask(pidfd_.get(), run_->info().pid, run_->info().start_ticks);
}

void ProcessWatch::AskExitStatus() {
  const ExitStatusReader::Answer answer = AskNow();
  const absl::Duration now = context_->loop->Now().monotonic;
  const bool decides = answer.unreaped && !run_->session().decided();
  const absl::Duration deadline = status_wait_->begin + (decides ? kReapWait : kStatusWait);
  if (!answer.final && now < deadline) {
    status_wait_->timer = context_->loop->AddTimer(std::min(now + status_wait_->backoff, deadline),
                                                   [this] { AskExitStatus(); });
    status_wait_->backoff = std::min(2 * status_wait_->backoff, kLastStatusWait);
    return;
  }
  status_wait_.reset();
  Release();
  ProcessEnd end = EndOf(answer.status);
  if (answer.unreaped) end.status_unknown = "its parent has not reaped it";
  run_->End(end);
}

ProcessEnd ProcessWatch::EndOfZombie(const PeerProcess& zombie) {
  end_unseen_ = found_ended_ = true;
  return EndOf(
      context_->exit_statuses->Ask(zombie.pidfd.get(), zombie.pid, zombie.start_ticks).status);
}

std::optional<uint64_t> ProcessWatch::ReadOomKills() const {
  const std::string& file = run_->info().oom_file;
  if (file.empty() || context_->oom_counters == nullptr) return std::nullopt;
  return context_->oom_counters->Read(file);
}

ProcessEnd ProcessWatch::EndOf(const std::optional<ExitStatus>& status) {
  ProcessEnd end{.status = status, .unseen = end_unseen_, .late = found_ended_};
  if (!status.has_value() && context_->exit_statuses->overflows() > 0) {
    end.status_unknown = "the kernel dropped reports of ended processes";
  }
  if (!status.has_value() || (status->signal != SIGKILL && status->signal != SIGQUIT)) return end;
  end.sender_unknown = !kill_unclear_.empty() ? absl::StrCat("not proven: ", kill_unclear_)
                       : end_unseen_
                           ? "not recorded: vmeventd was being restarted when it was sent"
                           : absl::StrCat("not recorded: ", context_->signals->WhyUnknown());
  if (status->signal != SIGKILL) return end;
  const std::optional<uint64_t> kills = ReadOomKills();
  end.oom_killed = kills.has_value() && *kills > run_->info().oom_kills;
  if (end.oom_killed) run_->table_->OnOomKill(run_, *kills);
  return end;
}

}  // namespace vmeventd
