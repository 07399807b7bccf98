#include "client/sources/fleet_source.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/fleet/clock_skew.h"
#include "client/fleet/fleet_failure.h"
#include "client/fleet/fleet_filter.h"
#include "client/fleet/fleet_subjects.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream.h"
#include "client/nats/stream_reader.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "client/sources/fleet_events.h"
#include "client/sources/fleet_reader.h"
#include "client/sources/position_gap.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

// Longest delay until a stop is noticed.
constexpr absl::Duration kSlice = absl::Milliseconds(100);
constexpr size_t kMaxOfBatch = 1000;
// Messages before the position that a connection reads again: those after it may repeat them.
constexpr uint64_t kLookBack = 1'000;

// Watches a fleet. One thread.
class FleetWatch : public ReconnectingSource {
 public:
  FleetWatch(WatchCommand command, FleetEnvironment fleet, Environment environment)
      : ReconnectingSource(std::move(environment)),
        command_(std::move(command)),
        env_(std::move(fleet)),
        filter_(FilterOf(command_.filter, env_.nodes)) {
    if (const auto* time = std::get_if<FromTime>(&command_.start)) SetSince(time->time);
    const auto* from = std::get_if<FromSequence>(&command_.start);
    if (from != nullptr && !from->journal_id.empty()) position_ = *from;
  }

 private:
  using VmKey = std::tuple<std::string, std::string, std::string>;  // cluster, node, name

  bool Open() override {
    const absl::Status status = Connect();
    if (!status.ok()) HandleLoss(status);
    return status.ok();
  }

  bool Read(absl::Duration* timeout) override {
    const absl::Duration slice = std::min(*timeout, kSlice);
    *timeout -= slice;
    if (const absl::Status status = ReadFor(slice); !status.ok()) HandleLoss(status);
    return *timeout > absl::ZeroDuration();
  }

  void SetSince(absl::Time since) {
    *filter_.list.mutable_start_time() = ToTimestamp(since);
    matcher_ = FleetMatcher(filter_);
  }

  // Makes `connection_` and `reader_`.
  absl::Status Connect() {
    reader_.reset();
    auto connection = env_.connect();
    if (!connection.ok()) return connection.status();
    connection_ = *std::move(connection);
    const auto state = ReadStreamState(connection_.get(), kFleetStream);
    if (!state.ok()) return state.status();
    stream_ = absl::StrCat(kFleetStream, " of ", state->created);
    absl::Status status = position_ ? CheckPosition(*state) : TakeStart(*state);
    if (!status.ok()) return status;
    command_.start = FromOldest{};  // `start_` counts from now on
    ReadStart start = start_;
    if (position_) start = position_->sequence + 1 - std::min(kLookBack, position_->sequence);
    auto reader = StreamReader::Open(connection_.get(), std::string(kFleetStream),
                                     EventSubjects(filter_), start, env_.clock);
    if (!reader.ok()) return reader.status();
    reader_ = *std::move(reader);
    NoteEstablished(
        absl::StrCat("reading the stream ", kFleetStream, " at ", env_.servers, " again"));
    Add(Opened{});
    reviewed_ = env_.clock();
    return absl::OkStatus();
  }

  // Reads for up to `timeout`. At intervals compares what was read with what the stream has; an
  // error ends the connection.
  absl::Status ReadFor(absl::Duration timeout) {
    const absl::StatusOr<bool> came = TakeBatch(timeout);
    if (!came.ok()) return came.status();
    if ((*came && !jumped_after_) || env_.clock() - reviewed_ < kFleetProgressInterval) {
      return absl::OkStatus();
    }
    reviewed_ = env_.clock();
    const auto state = ReadStreamState(connection_.get(), kFleetStream);
    if (!state.ok()) return state.status();
    CheckDeleted(*state);
    const absl::StatusOr<bool> all = reader_->AskWhetherAllIsRead();
    if (!all.ok()) return all.status();
    // The position moves over what does not pass the filter.
    if (*all && state->last > 0 && (!position_ || position_->sequence < state->last)) {
      position_ = WatchPosition{state->last, stream_, state->last_time};
    }
    AddPosition(position_);
    return absl::OkStatus();
  }

  // Reports what is missing after the position. A position in another stream is dropped: the watch
  // continues by time.
  absl::Status CheckPosition(const StreamState& state) {
    const absl::StatusOr<bool> same = IsSame(state);
    if (!same.ok()) return same.status();
    if (*same) {
      if (!jumped_after_) jumped_after_ = position_->sequence;
      CheckDeleted(state);
      if (position_->sequence + 1 < state.first) {
        position_ = WatchPosition{state.first - 1, stream_, state.first_time};
      }
      return absl::OkStatus();
    }
    const absl::Time since = std::max(position_->message_time, absl::UnixEpoch()) - kMaxSkew;
    NoteGap(absl::StrCat("the position ", position_->sequence, " is of another stream than ",
                         stream_,
                         ", which was deleted, restored from a copy or rolled back; continuing "
                         "with the events that were observed since ",
                         Rfc3339Text(since), ", of which some may come again"));
    const bool had_since = filter_.list.has_start_time();
    SetSince(had_since ? std::max(FromTimestamp(filter_.list.start_time()), since) : since);
    start_ = since;
    position_.reset();
    jumped_after_.reset();
    return absl::OkStatus();
  }

  // The position where the watch begins.
  absl::Status TakeStart(const StreamState& state) {
    if (std::holds_alternative<FromSnapshot>(command_.start)) return TakeSnapshot(state);
    if (std::holds_alternative<FromNow>(command_.start)) {
      position_ = WatchPosition{state.last, stream_, state.last_time};
    } else if (const auto* from = std::get_if<FromSequence>(&command_.start)) {
      position_ = WatchPosition{from->sequence, stream_};
    } else if (const auto* since = std::get_if<FromTime>(&command_.start)) {
      start_ = since->time - kMaxSkew;
      if (state.first > 1 && state.first <= state.last && state.first_time > since->time) {
        NoteGap("the stream no longer has the messages of that time; continuing with its oldest");
      }
    }
    return absl::OkStatus();
  }

  // True: the stream is the one that was read up to the position.
  absl::StatusOr<bool> IsSame(const StreamState& state) const {
    const WatchPosition& known = *position_;
    if (known.sequence == 0) return true;  // nothing read yet
    if (known.sequence > state.last || known.journal_id != stream_) return false;
    const auto found = ReadMessage(connection_.get(), kFleetStream, known.sequence);
    if (absl::IsNotFound(found.status())) return true;  // the stream's limits deleted it
    if (!found.ok()) return found.status();
    // A stream that was restored or rolled back has other messages there.
    return known.message_time == absl::InfinitePast() || known.message_time == found->time;
  }

  // The stream's own GAP is of no node.
  void NoteGap(absl::string_view why) {
    const std::string sentence = absl::StrCat("events may be missing: ", EscapeForTerminal(why));
    Note(absl::StrCat("GAP: ", sentence));
    if (!command_.identify || !position_) return;
    Add(MakeGap({"", "", EscapeToken(position_->journal_id)}, *position_, sentence));
  }

  // Reports it if the stream's limits deleted messages before they were read.
  void CheckDeleted(const StreamState& state) {
    const std::optional<uint64_t> after = std::exchange(jumped_after_, std::nullopt);
    if (!after || state.first <= *after + 1) return;
    NoteGap(absl::StrCat("the stream no longer has the messages after ", *after, ", its oldest is ",
                         state.first, "; continuing with that"));
  }

  absl::Status TakeSnapshot(const StreamState& state) {
    absl::StatusOr<NodeVms> all = ReadFleetVms(connection_.get(), filter_, env_);
    if (!all.ok()) return all.status();
    for (const NodeVm& one : *all) {
      const v1::Vm& vm = one.vm;
      snapshot_[{one.node.cluster, one.node.name, vm.ref().name()}] = {one.node.journal_id,
                                                                       vm.last_sequence()};
    }
    std::erase_if(*all, [](const NodeVm& one) { return one.vm.state() == v1::VM_STATE_STOPPED; });
    Add(*std::move(all));
    // A node writes its VMs' states after their events, so that some of these may come twice.
    if (state.last < state.first) {
      start_ = state.last + 1;
    } else {
      start_ = std::max(state.last_time - kMaxSkew, state.first_time);
    }
    return absl::OkStatus();
  }

  // Returns whether the VM that was shown has the event already.
  bool IsInSnapshot(const NodeEvent& event) const {
    if (snapshot_.empty()) return false;
    const auto vm = snapshot_.find({event.node.cluster, event.node.name, event.event.vm().name()});
    return vm != snapshot_.end() && vm->second.first == event.node.journal_id &&
           event.event.sequence() <= vm->second.second;
  }

  // Takes the messages that arrive within `timeout`, and all that are available then; false:
  // nothing arrived.
  absl::StatusOr<bool> TakeBatch(absl::Duration timeout) {
    NodeEvents batch;
    std::optional<WatchPosition> last;
    absl::Status lost;
    while (batch.size() < kMaxOfBatch && !stopped()) {
      auto next = reader_->Next(last ? absl::ZeroDuration() : timeout);
      if (!next.ok()) {
        lost = next.status();
        break;
      }
      if (!next->has_value()) break;
      std::optional<NodeEvent> event = events_.Parse(**next, matcher_);
      const uint64_t sequence = (*next)->stream_sequence;
      if (position_ && sequence <= position_->sequence) continue;  // repeated by the look back
      const std::optional<WatchPosition>& before = last ? last : position_;
      if (before && sequence > before->sequence + 1 && !jumped_after_) {
        jumped_after_ = before->sequence;
      }
      last = {sequence, stream_, (*next)->time};
      if (!event || IsInSnapshot(*event)) continue;
      event->resume_after.position = *last;
      batch.push_back(*std::move(event));
    }
    if (!last) return lost.ok() ? absl::StatusOr<bool>(false) : lost;
    if (!batch.empty()) Add(std::move(batch));
    position_ = std::move(last);
    AddPosition(position_);
    if (!lost.ok()) return lost;
    return true;
  }

  // The connection has ended.
  void HandleLoss(const absl::Status& status) {
    if (stopped()) return Close(ExitCode::kOk);
    const Failure failure = ExplainFleetFailure(env_.servers, env_.invocation, status);
    const bool may_come = absl::IsUnavailable(status) || absl::IsNotFound(status);
    if (!may_come || !(ever_established() || command_.wait)) {
      Note(failure.sentence);
      return Close(failure.code);
    }
    NoteLoss(
        absl::StrCat(failure.sentence, ever_established() ? " (connecting again)" : " (waiting)"));
    Close(std::nullopt);
  }

  WatchCommand command_;
  const FleetEnvironment env_;
  FleetFilter filter_;
  FleetMatcher matcher_{filter_};
  std::unique_ptr<NatsConnection> connection_;
  std::unique_ptr<StreamReader> reader_;
  ReadStart start_ = uint64_t{1};          // valid until there is a position
  std::optional<WatchPosition> position_;  // journal_id is the stream's
  FleetEvents events_{env_.note};
  std::string stream_;  // the present one's time of creation
  std::map<VmKey, std::pair<std::string, uint64_t>> snapshot_;  // journal and last sequence
  absl::Time reviewed_;                                         // time of the last comparison
  // Messages after this one did not pass the filter, or the stream had deleted them.
  std::optional<uint64_t> jumped_after_;
};

}  // namespace

std::unique_ptr<Source> WatchFleet(WatchCommand command, FleetEnvironment fleet,
                                   ReconnectingSource::Environment environment) {
  return std::make_unique<FleetWatch>(std::move(command), std::move(fleet), std::move(environment));
}

}  // namespace vmeventd::client
