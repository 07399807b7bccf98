#include "client/sources/fleet_position.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/fleet/clock_skew.h"
#include "client/fleet/fleet_subjects.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

// Messages before the position that a connection reads again.
constexpr uint64_t kLookBack = 1'000;

std::string StreamNameOf(const StreamState& state) {
  return absl::StrCat(kFleetStream, " of ", state.created);
}

}  // namespace

FleetPosition::FleetPosition(WatchStart start) : start_(std::move(start)) {
  const auto* from = std::get_if<FromSequence>(&start_);
  if (from != nullptr && !from->journal_id.empty()) position_ = *from;
}

bool FleetPosition::AwaitsSnapshot() const { return std::holds_alternative<FromSnapshot>(start_); }

void FleetPosition::OnSnapshot(const StreamState& state) {
  stream_ = StreamNameOf(state);
  start_ = FromOldest{};
  // A node writes its VMs' states after their events, so that some of these may come twice.
  if (state.last < state.first) {
    from_ = state.last + 1;
  } else {
    from_ = std::max(state.last_time - kMaxSkew, state.first_time);
  }
}

std::optional<uint64_t> FleetPosition::WantedMessage(const StreamState& state) const {
  if (!position_ || position_->sequence == 0 || position_->sequence > state.last ||
      position_->journal_id != StreamNameOf(state) ||
      position_->message_time == absl::InfinitePast()) {
    return std::nullopt;
  }
  return position_->sequence;
}

FleetPosition::Step FleetPosition::OnConnected(const StreamState& state,
                                               std::optional<absl::Time> stored) {
  stream_ = StreamNameOf(state);
  const WatchStart start = std::exchange(start_, FromOldest{});
  if (!position_) return Begin(state, start);
  if (IsSame(state, stored)) return Resume(state);
  const absl::Time since = std::max(position_->message_time, absl::UnixEpoch()) - kMaxSkew;
  ByTime step = {
      {absl::StrCat("the position ", position_->sequence, " is of another stream than ", stream_,
                    ", which was deleted, restored from a copy or rolled back; "
                    "continuing with the events that were observed since ",
                    Rfc3339Text(since), ", of which some may come again"),
       position_},
      since};
  from_ = since;
  position_.reset();
  skipped_after_.reset();
  return step;
}

FleetPosition::Step FleetPosition::Begin(const StreamState& state, const WatchStart& start) {
  if (std::holds_alternative<FromNow>(start)) {
    position_ = WatchPosition{state.last, stream_, state.last_time};
  } else if (const auto* from = std::get_if<FromSequence>(&start)) {
    position_ = WatchPosition{from->sequence, stream_};
  } else if (const auto* since = std::get_if<FromTime>(&start)) {
    from_ = since->time - kMaxSkew;
    if (state.first > 1 && state.first <= state.last && state.first_time > since->time) {
      return Gap{"the stream no longer has the messages of that time; continuing with its oldest"};
    }
  }
  return Continue{};
}

FleetPosition::Step FleetPosition::Resume(const StreamState& state) {
  if (!skipped_after_) skipped_after_ = position_->sequence;
  std::optional<Gap> gap = OnState(state);
  // The first message that is left follows without a further gap.
  if (position_->sequence + 1 < state.first) {
    position_ = WatchPosition{state.first - 1, stream_, state.first_time};
  }
  return gap ? Step(*std::move(gap)) : Continue{};
}

bool FleetPosition::IsSame(const StreamState& state, std::optional<absl::Time> stored) const {
  if (position_->sequence == 0) return true;  // nothing was read yet
  if (position_->sequence > state.last || position_->journal_id != stream_) return false;
  if (position_->message_time == absl::InfinitePast()) return true;
  // Without the message, the stream's limits deleted it. A stream that was restored or rolled back
  // has another message there.
  return !stored || *stored == position_->message_time;
}

ReadStart FleetPosition::ReadFrom() const {
  if (!position_) return from_;
  return position_->sequence + 1 - std::min(kLookBack, position_->sequence);
}

bool FleetPosition::OnMessage(uint64_t sequence, absl::Time stored) {
  if (position_ && sequence <= position_->sequence) return false;
  if (position_ && sequence > position_->sequence + 1 && !skipped_after_) {
    skipped_after_ = position_->sequence;
  }
  position_ = WatchPosition{sequence, stream_, stored};
  return true;
}

std::optional<FleetPosition::Gap> FleetPosition::OnState(const StreamState& state) {
  const std::optional<uint64_t> after = std::exchange(skipped_after_, std::nullopt);
  if (!after || state.first <= *after + 1) return std::nullopt;
  return Gap{absl::StrCat("the stream no longer has the messages after ", *after,
                          ", its oldest is ", state.first, "; continuing with that"),
             position_};
}

void FleetPosition::OnAllRead(const StreamState& state) {
  if (state.last > 0 && (!position_ || position_->sequence < state.last)) {
    position_ = WatchPosition{state.last, stream_, state.last_time};
  }
}

}  // namespace vmeventd::client
