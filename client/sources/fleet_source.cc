#include "client/sources/fleet_source.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/fleet/fleet_failure.h"
#include "client/fleet/fleet_filter.h"
#include "client/fleet/fleet_subjects.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream.h"
#include "client/nats/stream_reader.h"
#include "client/output/terminal_text.h"
#include "client/sources/fleet_events.h"
#include "client/sources/fleet_position.h"
#include "client/sources/fleet_reader.h"
#include "client/sources/position_gap.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

// Longest delay until a stop is noticed.
constexpr absl::Duration kSlice = absl::Milliseconds(100);
constexpr size_t kMaxOfBatch = 1000;

// Watches a fleet. One thread.
class FleetWatch : public ReconnectingSource {
 public:
  FleetWatch(WatchCommand command, FleetEnvironment fleet, Environment environment)
      : ReconnectingSource(std::move(environment)),
        command_(std::move(command)),
        env_(std::move(fleet)),
        filter_(FilterOf(command_.filter, env_.nodes)),
        position_(command_.start) {
    if (const auto* time = std::get_if<FromTime>(&command_.start)) SetSince(time->time);
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
    absl::Status status =
        position_.AwaitsSnapshot() ? TakeSnapshot(*state) : ComparePosition(*state);
    if (!status.ok()) return status;
    auto reader = StreamReader::Open(connection_.get(), std::string(kFleetStream),
                                     EventSubjects(filter_), position_.ReadFrom(), env_.clock);
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
    if ((*came && !position_.HasSkipped()) || env_.clock() - reviewed_ < kFleetProgressInterval) {
      return absl::OkStatus();
    }
    reviewed_ = env_.clock();
    const auto state = ReadStreamState(connection_.get(), kFleetStream);
    if (!state.ok()) return state.status();
    if (const auto gap = position_.OnState(*state)) NoteGap(*gap);
    const absl::StatusOr<bool> all = reader_->AskWhetherAllIsRead();
    if (!all.ok()) return all.status();
    // The position moves over what does not pass the filter.
    if (*all) position_.OnAllRead(*state);
    AddPosition(position_.position());
    return absl::OkStatus();
  }

  // Reports what is missing after the position. If that is lost, the watch continues by time.
  absl::Status ComparePosition(const StreamState& state) {
    std::optional<absl::Time> stored;
    if (const std::optional<uint64_t> wanted = position_.WantedMessage(state)) {
      const auto found = ReadMessage(connection_.get(), kFleetStream, *wanted);
      if (!found.ok() && !absl::IsNotFound(found.status())) return found.status();
      if (found.ok()) stored = found->time;
    }
    const FleetPosition::Step step = position_.OnConnected(state, stored);
    if (const auto* gap = std::get_if<FleetPosition::Gap>(&step)) NoteGap(*gap);
    if (const auto* by_time = std::get_if<FleetPosition::ByTime>(&step)) {
      NoteGap(by_time->gap);
      const bool had_since = filter_.list.has_start_time();
      SetSince(had_since ? std::max(FromTimestamp(filter_.list.start_time()), by_time->since)
                         : by_time->since);
    }
    return absl::OkStatus();
  }

  // The stream's own GAP is of no node.
  void NoteGap(const FleetPosition::Gap& gap) {
    const std::string sentence =
        absl::StrCat("events may be missing: ", EscapeForTerminal(gap.why));
    Note(absl::StrCat("GAP: ", sentence));
    if (!command_.identify || !gap.behind) return;
    Add(MakeGap({"", "", EscapeToken(gap.behind->journal_id)}, *gap.behind, sentence));
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
    position_.OnSnapshot(state);
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
    bool came = false;
    absl::Status lost;
    while (batch.size() < kMaxOfBatch && !stopped()) {
      auto next = reader_->Next(came ? absl::ZeroDuration() : timeout);
      if (!next.ok()) {
        lost = next.status();
        break;
      }
      if (!next->has_value()) break;
      // Those before the position are parsed too: events after it may repeat theirs.
      std::optional<NodeEvent> event = events_.Parse(**next, matcher_);
      if (!position_.OnMessage((*next)->stream_sequence, (*next)->time)) continue;
      came = true;
      if (!event || IsInSnapshot(*event)) continue;
      event->resume_after.position = *position_.position();
      batch.push_back(*std::move(event));
    }
    if (!batch.empty()) Add(std::move(batch));
    if (came) AddPosition(position_.position());
    if (!lost.ok()) return lost;
    return came;
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

  const WatchCommand command_;
  const FleetEnvironment env_;
  FleetFilter filter_;
  FleetMatcher matcher_{filter_};
  std::unique_ptr<NatsConnection> connection_;
  std::unique_ptr<StreamReader> reader_;
  FleetPosition position_;
  FleetEvents events_{env_.note};
  std::map<VmKey, std::pair<std::string, uint64_t>> snapshot_;  // journal and last sequence
  absl::Time reviewed_;                                         // time of the last comparison
};

}  // namespace

std::unique_ptr<Source> WatchFleet(WatchCommand command, FleetEnvironment fleet,
                                   ReconnectingSource::Environment environment) {
  return std::make_unique<FleetWatch>(std::move(command), std::move(fleet), std::move(environment));
}

}  // namespace vmeventd::client
