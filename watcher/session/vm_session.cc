#include "watcher/session/vm_session.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

// Inputs that are neither the monitor's (vm_session_monitor.cc, vm_session_events.cc,
// vm_session_agent.cc) nor an intent (vm_session_intent.cc) nor the end (vm_session_end.cc), and
// time.

namespace vmeventd {
namespace {

// A QEMU that stays for longer after a SHUTDOWN, without a STOP, counts as one that stays.
constexpr absl::Duration kDownGrace = absl::Seconds(5);
// Time in which a daemon that was started again may reach the monitors that it had.
constexpr absl::Duration kAwayGrace = absl::Seconds(10);

// A QEMU that takes longer to exit has a problem, which is reported again each time that it is
// twice as old.
constexpr absl::Duration kExitReport = absl::Seconds(10);

// One GAP reports a flood: once it has paused for kDropQuiet, or has gone on for kDropReport.
constexpr absl::Duration kDropQuiet = absl::Seconds(1);
constexpr absl::Duration kDropReport = absl::Seconds(10);

}  // namespace

VmSession::VmSession(RunInfo run, const SessionOptions* options, Instant now)
    : run_(std::move(run)),
      options_(options),
      attached_at_(now),
      state_time_(now.wall),
      published_state_time_(now.wall),
      closed_at_(now) {
  ShareTexts();
}

void VmSession::ShareTexts() {
  if (options_->texts == nullptr) return;
  for (SharedText* text : {&run_.source, &run_.boot_id, &qemu_version_}) {
    options_->texts->Share(text);
  }
}

// The process

Effects VmSession::OnTrackingLost(Instant now) {
  return Step(now, [this] {
    run_.process_tracked = false;
    run_.pid = 0;
    PublishStatus();
  });
}

Effects VmSession::OnProcessFound(const ProcessInfo& process, Instant now) {
  return Step(now, [&] {
    run_.SetProcess(process);
    if (started_) PublishStatus();
  });
}

Effects VmSession::OnOomKills(uint64_t kills) {
  run_.oom_kills = kills;
  return KeptAtOnce();
}

Effects VmSession::OnSignal(const SignalSender& sender, Instant now) {
  if (gone_) return {};
  return Step(now, [&] {
    evidence_.SawSignal(sender, now);
    BeginExit(now);
  });
}

Effects VmSession::OnOomVictim(const OomVictim& victim, Instant now) {
  if (gone_) return {};
  return Step(now, [&] { evidence_.SawOomVictim(victim, now); });
}

Effects VmSession::OnHostShutdown(bool shutting_down, absl::string_view by, Instant now) {
  if (gone_) return {};
  return Step(now, [&] { evidence_.SawHostShutdown(shutting_down, by, now); });
}

Effects VmSession::OnNextId(int64_t domain_id) {
  run_.domain_id = domain_id;
  return KeptAtOnce();
}

Effects VmSession::OnSocket(const SocketIdentity& socket) {
  run_.socket = socket;
  return KeptAtOnce();
}

Effects VmSession::OnLabels(Labels labels, Instant now) {
  return Step(now, [&] { labels_ = std::move(labels); });
}

Effects VmSession::OnSharedUuid(absl::string_view problem, Instant now) {
  return Step(now, [&] { uuid_problem_ = problem; });
}

// Time

Effects VmSession::OnTick(Instant now) {
  if (now.monotonic < NextTick()) return {};
  return Step(now, [&] {
    if (now.monotonic >= poll_at_) PollRunState(now);
    if (drops_.has_value() && now.monotonic >= DropReport()) FlushDropped(now);
    if (now.monotonic >= DownReport()) {
      SetState(VmState::kGuestDown, now);
      VmEvent down =
          MakeEvent(EventType::kGuestShutdown, "the guest is down and QEMU has not ended yet", now);
      down.shutdown = MakeDetail();
      Emit(std::move(down), now);
    }
    if (CanLoseMonitor() && now.monotonic >= closed_at_.monotonic + LostGrace()) {
      DeclareLost(now);
    }
    if (monitor_ == Monitor::kUnseen && OutlivesMonitor() &&
        now.monotonic >= closed_at_.monotonic + kAwayGrace) {
      DeclareAway(now);
    }
    if (ExitIsLate(now) || now.monotonic >= answer_due_) effects_.push_back(ExamineThreads{});
  });
}

Effects VmSession::OnThreads(absl::string_view states, Instant now) {
  return Step(now, [&] {
    const std::string threads = states.empty() ? "" : absl::StrCat("; its threads: ", states);
    if (now.monotonic >= answer_due_) {
      answer_due_ = absl::InfiniteDuration();
      silence_problem_ = absl::StrCat("QEMU does not answer", threads);
      SetState(VmState::kUnreachable, now);
    }
    if (!ExitIsLate(now)) return;
    const absl::Duration waited = now.monotonic - exiting_since_->monotonic;
    while (exit_report_ <= waited) exit_report_ *= 2;
    const int64_t seconds = absl::ToInt64Seconds(waited);
    const SignalSender* const sender = evidence_.SenderOfLateEnd();
    exit_problem_ = absl::StrCat(
        sender == nullptr
            ? absl::StrCat("QEMU has not exited for ", seconds, " s after its shutdown")
            : absl::StrCat(SignalName(sender->signal), " sent by ", DescribeSender(*sender), " ",
                           seconds, " s ago, and QEMU has not ended"),
        threads);
  });
}

absl::Duration VmSession::NextTick() const {
  absl::Duration next = absl::InfiniteDuration();
  if (CanLoseMonitor()) next = closed_at_.monotonic + LostGrace();
  if (monitor_ == Monitor::kUnseen && !gone_ && OutlivesMonitor()) {
    next = closed_at_.monotonic + kAwayGrace;
  }
  if (intent_.has_value()) next = std::min(next, intent_->deadline);
  next = std::min({next, DownReport(), keep_at_, poll_at_, answer_due_});
  if (exiting_since_.has_value()) next = std::min(next, exiting_since_->monotonic + exit_report_);
  if (drops_.has_value()) next = std::min(next, DropReport());
  return next;
}

absl::Duration VmSession::DropReport() const {
  return std::min(drops_->last + kDropQuiet, drops_->first + kDropReport);
}

absl::Duration VmSession::DownReport() const {
  if (gone_ || !exiting_since_.has_value() || !evidence_.facts().shutdown.has_value() ||
      (started_ && state_ == VmState::kGuestDown)) {
    return absl::InfiniteDuration();
  }
  return exiting_since_->monotonic + kDownGrace;
}

void VmSession::BeginExit(Instant now) {
  if (exiting_since_.has_value()) return;
  exiting_since_ = now;
  exit_report_ = kExitReport;
}

void VmSession::ForgetExit() {
  exiting_since_.reset();
  exit_problem_.clear();
}

void VmSession::SetState(VmState state, Instant now) {
  if (state_ == state) return;
  state_ = state;
  state_time_ = now.wall;
}

void VmSession::SawRestart(Instant now) {
  if (!away_) return;
  evidence_.Saw("vmeventd was started again: what happened while it was away was not seen", now);
}

}  // namespace vmeventd
