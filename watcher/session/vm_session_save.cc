// Saves a run, and restores it for the next daemon.

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

// The newest time in the saved state of a run at which it was alive. A signal that it was sent, and
// the host's shutdown, may be recorded after its end, which may itself be saved before STOPPED.
absl::Time LastTimeIn(const RunState& state) {
  absl::Time last =
      std::max({state.attached_at.wall, state.vm.state_time, state.vm.published_state_time});
  for (const EvidenceEntry& seen : state.evidence.timeline) {
    if (seen.id == EvidenceId::kSignalSent || seen.id == EvidenceId::kHostShutdown ||
        seen.id == EvidenceId::kNoSignOfLife) {
      continue;
    }
    last = std::max(last, seen.time);
  }
  return last;
}

}  // namespace

std::string VmSession::Save() const {
  if (!started_ || saved_.vm.state == VmState::kStopped) return "";
  return SaveRunState(saved_);
}

bool VmSession::CanBeHandedOver() const {
  return started_ && !gone() && !restored_unattached() && link_.ready() && steps_.file_due();
}

void VmSession::Handle(const input::TakenOver& /*input*/, Instant now) {
  link_.TakeOver(/*answered_all=*/!saved_.agent.unknown, now.monotonic);
  saved_.evidence.facts.monitored = true;
  if (saved_.evidence.facts.shutdown.has_value()) return;
  if (saved_.evidence.facts.paused != Fact::kNone) return poll_.AskSoon(now.monotonic);
  poll_.AskLater(now.monotonic);
}

absl::StatusOr<VmSession> VmSession::Restore(absl::string_view saved, const SessionOptions* options,
                                             Instant now) {
  absl::StatusOr<RunState> state = RestoreRunState(saved);
  if (!state.ok()) return state.status();
  MonitorLink link = MonitorLink::Restored(state->monitor_lost, now);
  VmSession session(*std::move(state), std::move(link), options, now);
  session.started_ = true;
  session.alive_at_ = std::max(options->last_watched, LastTimeIn(session.saved_));
  session.saved_.problems.MarkPublished();
  session.saved_.problems.Set(Subject::kDirectory, {});  // a hang that continues is found again
  session.saves_.Record(saved);
  return session;
}

void VmSession::SaveSoon(Instant now) {
  const bool has_event = std::any_of(effects_.begin(), effects_.end(), HasEvent);
  // The outcome of the shutdown file follows at once, and is saved together with this.
  if (!has_event && steps_.file_requested()) return;
  // An event is committed together with what it changed; the rest can wait for a moment.
  if (has_event || saves_.Admit(now.monotonic)) SaveNow();
}

void VmSession::SaveNow() {
  std::string text = Save();
  const bool changed = saves_.Record(text);
  // An event changes the sequence of the run's last event, which is saved with the text.
  if (!changed && std::none_of(effects_.begin(), effects_.end(), HasEvent)) return;
  auto last = std::find_if(effects_.rbegin(), effects_.rend(), IsPublish);
  if (last == effects_.rend()) {
    PublishStatus();
    last = effects_.rbegin();
  }
  std::get<Publish>(*last).update.saved_run = std::move(text);
}

}  // namespace vmeventd
