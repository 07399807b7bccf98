#include "client/fleet/fleet_watch.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/nats/stream_reader.h"
#include "base/nats/subject.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

constexpr absl::Duration kFirstBackoff = absl::Milliseconds(100);
constexpr absl::Duration kLongestBackoff = absl::Seconds(5);
// Delay until a stop is noticed.
constexpr absl::Duration kSlice = absl::Milliseconds(100);
constexpr int kMostOfBatch = 1000;

absl::Status SinkEnds() { return absl::CancelledError("the sink ended the watch"); }

}  // namespace

FleetWatch::FleetWatch(WatchCommand command, Environment environment)
    : command_(std::move(command)),
      env_(std::move(environment)),
      filter_{command_.filter, env_.nodes, std::nullopt, std::nullopt},
      backoff_(kFirstBackoff, kLongestBackoff) {
  if (const auto* time = std::get_if<FromTime>(&command_.start)) filter_.since = time->time;
  const auto* from = std::get_if<FromSequence>(&command_.start);
  if (from != nullptr && !from->journal_id.empty()) {
    position_ = WatchPosition{from->sequence, from->journal_id};
  }
}

ExitCode FleetWatch::Run(WatchSink* sink) {
  sink_ = sink;
  while (!env_.stop->stopped()) {
    const absl::Status status = RunConnection();
    if (env_.stop->stopped() || absl::IsCancelled(status)) break;
    if (const std::optional<ExitCode> code = HandleLoss(status)) return *code;
    if (env_.wait(backoff_.Next(env_.random()))) break;
  }
  return ExitCode::kOk;
}

absl::Status FleetWatch::RunConnection() {
  const auto connection = env_.connect();
  if (!connection.ok()) return connection.status();
  const auto state = ReadStreamState(connection->get(), std::string(kFleetStream));
  if (!state.ok()) return state.status();
  if (absl::Status status = CheckPosition(*state); !status.ok()) return status;
  if (!started_ && !position_ && std::holds_alternative<FromSnapshot>(command_.start)) {
    absl::Status status = TakeSnapshot(connection->get(), *state);
    if (!status.ok()) return status;
  }
  started_ = true;
  const ReadStart start = position_ ? ReadStart(position_->sequence + 1) : start_;
  const auto reader = FleetEventReader::Open(connection->get(), filter_, start,
                                             {.note = env_.note, .clock = env_.clock});
  if (!reader.ok()) return reader.status();
  NoteEstablished();
  if (!sink_->OnOpen()) return SinkEnds();
  return ReadAll(connection->get(), reader->get());
}

absl::Status FleetWatch::CheckPosition(const StreamState& state) {
  stream_ = absl::StrCat(kFleetStream, " of ", state.created);
  if (position_ && position_->journal_id == stream_) CheckJump(state);
  if (position_ && position_->journal_id != stream_) {
    return Gap(absl::StrCat("the position is of another stream than the ", stream_), state);
  }
  if (position_ && position_->sequence > state.last) {
    return Gap(absl::StrCat("the position ", position_->sequence, " is beyond the last message, ",
                            state.last, ": the stream was restored from a copy"),
               state);
  }
  if (position_ && position_->sequence + 1 < state.first) {
    return Gap(absl::StrCat("the stream no longer has the messages after ", position_->sequence,
                            ", its oldest is ", state.first),
               state);
  }
  if (position_ || started_) return absl::OkStatus();
  if (std::holds_alternative<FromNow>(command_.start)) {
    position_ = WatchPosition{state.last, stream_};
  } else if (std::holds_alternative<FromOldest>(command_.start)) {
    position_ = WatchPosition{state.first - 1, stream_};
  } else if (const auto* from = std::get_if<FromSequence>(&command_.start)) {
    position_ = WatchPosition{from->sequence, stream_};
  } else if (const auto* since = std::get_if<FromTime>(&command_.start)) {
    start_ = since->time - kMostSkew;
    if (state.first > 1 && state.first <= state.last && state.first_time > since->time) {
      return Gap("the stream no longer has the messages of that time", state);
    }
  }
  return absl::OkStatus();
}

absl::Status FleetWatch::Gap(const std::string& why, const StreamState& state) {
  const std::string missing = absl::StrCat("events may be missing: ", EscapeForTerminal(why));
  if (!command_.resume) return absl::OutOfRangeError(missing);
  env_.note(absl::StrCat("GAP: ", missing, "; continuing with the oldest event that the stream ",
                         kFleetStream, " at ", env_.servers, " retains"));
  position_ = WatchPosition{state.first - 1, stream_};
  jumped_after_.reset();
  return absl::OkStatus();
}

void FleetWatch::CheckJump(const StreamState& state) {
  const std::optional<uint64_t> after = std::exchange(jumped_after_, std::nullopt);
  if (!after || state.first <= *after + 1) return;
  env_.note(absl::StrCat("GAP: events may be missing: the stream ", kFleetStream, " at ",
                         env_.servers, " deleted messages after ", *after,
                         " before they were read; its oldest is ", state.first));
}

absl::Status FleetWatch::TakeSnapshot(NatsConnection* connection, const StreamState& state) {
  absl::StatusOr<std::vector<FleetVm>> all =
      ReadFleetVms(connection, filter_, {.note = env_.note, .clock = env_.clock});
  if (!all.ok()) return all.status();
  Formatter::Vms vms;
  Formatter::Nodes nodes;
  for (FleetVm& vm : *all) {
    snapshot_[{vm.origin.cluster, vm.origin.node, vm.vm.ref().name()}] = {vm.origin.journal_id,
                                                                          vm.vm.last_sequence()};
    if (vm.vm.state() == v1::VM_STATE_STOPPED) continue;
    nodes.push_back(NodeOf(vm.origin));
    *vms.Add() = std::move(vm.vm);
  }
  // A node writes its VMs' states after their events, so that some of these may come twice.
  if (state.last >= state.first) {
    start_ = std::max(state.first_time, state.last_time - kSnapshotOverlap);
  } else {
    start_ = state.last + 1;
  }
  return sink_->OnVms(vms, nodes) ? absl::OkStatus() : SinkEnds();
}

// Whether the VM that was shown has the event already.
bool FleetWatch::IsInSnapshot(const FleetEvent& event) const {
  if (snapshot_.empty()) return false;
  const auto vm =
      snapshot_.find({event.origin.cluster, event.origin.node, event.event.vm().name()});
  return vm != snapshot_.end() && vm->second.first == event.origin.journal_id &&
         event.event.sequence() <= vm->second.second;
}

absl::Status FleetWatch::ReadAll(NatsConnection* connection, FleetEventReader* reader) {
  asked_ = checked_ = env_.clock();
  while (!env_.stop->stopped()) {
    const absl::StatusOr<bool> came = TakeBatch(reader, kSlice);
    if (!came.ok()) return came.status();
    if (jumped_after_ && env_.clock() - checked_ >= kProgressInterval) {
      checked_ = env_.clock();
      const auto state = ReadStreamState(connection, std::string(kFleetStream));
      if (!state.ok()) return state.status();
      CheckJump(*state);
    }
    if (*came || env_.clock() - asked_ < kProgressInterval) continue;
    if (absl::Status status = MoveOn(reader); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> FleetWatch::TakeBatch(FleetEventReader* reader, absl::Duration timeout) {
  WatchedEvents batch;
  const int most = sink_->one_by_one() ? 1 : kMostOfBatch;
  std::optional<uint64_t> last;
  absl::Status lost;
  while (batch.events.size() < most && !env_.stop->stopped()) {
    auto next = reader->Next(last ? absl::ZeroDuration() : timeout);
    if (!next.ok()) {
      lost = next.status();
      break;
    }
    if (!next->has_value()) break;
    const uint64_t sequence = (*next)->stream_sequence;
    const std::optional<uint64_t> before = last        ? last
                                           : position_ ? std::optional(position_->sequence)
                                                       : std::nullopt;
    if (before && sequence > *before + 1 && !jumped_after_) jumped_after_ = before;
    last = sequence;
    if ((*next)->event && !IsInSnapshot(*(*next)->event)) {
      batch.nodes.push_back(NodeOf((*next)->event->origin));
      batch.resume_after.push_back({0, {sequence, stream_}});
      *batch.events.Add() = std::move((*next)->event->event);
    }
  }
  if (!last) return lost.ok() ? absl::StatusOr<bool>(false) : lost;
  if (!batch.events.empty() && !sink_->OnEvents(std::move(batch))) return SinkEnds();
  position_ = WatchPosition{*last, stream_};
  if (absl::Status status = ReportPosition(); !status.ok()) return status;
  if (!lost.ok()) return lost;
  return true;
}

absl::Status FleetWatch::MoveOn(FleetEventReader* reader) {
  asked_ = env_.clock();
  const absl::StatusOr<std::optional<uint64_t>> scanned = reader->AskScanned();
  if (!scanned.ok()) return scanned.status();
  if (!scanned->has_value()) return absl::OkStatus();
  if (!position_ || position_->sequence < **scanned) position_ = WatchPosition{**scanned, stream_};
  return ReportPosition();
}

absl::Status FleetWatch::ReportPosition() {
  return !position_ || sink_->OnPosition({0, *position_}) ? absl::OkStatus() : SinkEnds();
}

void FleetWatch::NoteEstablished() {
  ever_established_ = true;
  backoff_.Reset();
  last_reason_.clear();
  if (std::exchange(loss_noted_, false)) {
    env_.note(absl::StrCat("reading the stream ", kFleetStream, " at ", env_.servers, " again"));
  }
}

std::optional<ExitCode> FleetWatch::HandleLoss(const absl::Status& status) {
  const Failure failure = ExplainFleetFailure(env_.servers, status);
  const bool may_come = absl::IsUnavailable(status) || absl::IsNotFound(status);
  if (!may_come || !(ever_established_ ? command_.resume : command_.wait)) {
    env_.note(failure.sentence);
    return failure.code;
  }
  loss_noted_ = true;
  if (std::exchange(last_reason_, failure.sentence) != failure.sentence) {
    env_.note(
        absl::StrCat(failure.sentence, ever_established_ ? " (connecting again)" : " (waiting)"));
  }
  return std::nullopt;
}

}  // namespace vmeventd::client
