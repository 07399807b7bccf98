#include "watcher/session/monitor_link.h"

#include <algorithm>
#include <utility>

namespace vmeventd {

MonitorLink MonitorLink::Restored(bool lost, Instant now) {
  MonitorLink link(now);
  link.state_ = lost ? State::kLost : State::kUnseen;
  link.restored_ = true;
  return link;
}

bool MonitorLink::TakeInput() { return !std::exchange(listens_, true); }

bool MonitorLink::TakeDownInHandshake() { return std::exchange(down_in_handshake_, false); }

MonitorLink::State MonitorLink::Attach() {
  restored_ = resumed_ = answered_all_ = closed_in_first_handshake_ = maybe_alive_ = false;
  return std::exchange(state_, State::kReady);
}

void MonitorLink::TakeOver(bool answered_all, absl::Duration now) {
  state_ = State::kReady;
  restored_ = false;
  resumed_ = listens_ = true;
  resumed_at_ = now;
  answered_all_ = answered_all;
}

bool MonitorLink::TakeAllAnswers() { return !std::exchange(answered_all_, true); }

void MonitorLink::Close(absl::string_view why, Instant now) {
  down_in_handshake_ = listens_ = false;
  if (!ready() && state_ != State::kNone) return;
  closed_in_first_handshake_ = state_ == State::kNone;
  state_ = closed_in_first_handshake_ ? State::kLost : State::kClosed;
  closed_at_ = now;
  close_reason_ = std::string(why);
}

absl::Duration MonitorLink::LostAt(bool decided) const {
  if (closed()) return closed_at_.monotonic + (decided ? kLostGraceOfAnEnd : kLostGrace);
  return state_ == State::kUnseen ? closed_at_.monotonic + kAwayGrace : absl::InfiniteDuration();
}

bool MonitorLink::ShowsEnd(bool has_manager, absl::Duration now) const {
  return !restored_ && !IsCatchingUp(now) && (ready() || (closed() && !has_manager));
}

Instant MonitorLink::SentAt(std::optional<absl::Time> qemu_time, absl::Time daemon_start,
                            Instant now) const {
  const bool waited =
      resumed_ && qemu_time.has_value() && *qemu_time < std::min(daemon_start, now.wall);
  if (!waited) return now;
  return {*qemu_time, now.monotonic - (now.wall - *qemu_time)};
}

}  // namespace vmeventd
