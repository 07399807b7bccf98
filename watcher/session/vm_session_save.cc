// Saves a run, and restores it for the next daemon.

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/hash/hash.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

// Time that a changed run may wait to be saved in a flood.
constexpr absl::Duration kSaveDelay = absl::Milliseconds(100);

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
  return started_ && !gone_ && !restored_unattached() && link_.ready() &&
         file_step_ == FileStep::kUndone;
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
  session.saved_.problems.Set(Subject::kDirectory, {});  // if it still hangs, that is found again
  session.saved_hash_ = absl::HashOf(saved);
  return session;
}

void VmSession::SaveSoon(Instant now) {
  const bool has_event = std::any_of(effects_.begin(), effects_.end(), HasEvent);
  // The outcome of the shutdown file follows at once, and is saved together with this.
  if (!has_event && file_step_ == FileStep::kRequested) return;
  // An event is committed together with what it changed; the rest can wait for a moment.
  if (!has_event && !save_limit_.Take(now.monotonic)) {
    save_at_ = std::min(save_at_, now.monotonic + kSaveDelay);
    return;
  }
  SaveNow();
}

void VmSession::SaveNow() {
  save_at_ = absl::InfiniteDuration();
  std::string text = Save();
  const size_t hash = absl::HashOf(text);
  // An event changes the sequence of the run's last event, which is saved with the text.
  if (hash == saved_hash_ && std::none_of(effects_.begin(), effects_.end(), HasEvent)) return;
  saved_hash_ = hash;
  auto last = std::find_if(effects_.rbegin(), effects_.rend(), IsPublish);
  if (last == effects_.rend()) {
    PublishStatus();
    last = effects_.rbegin();
  }
  std::get<Publish>(*last).update.saved_run = std::move(text);
}

}  // namespace vmeventd
