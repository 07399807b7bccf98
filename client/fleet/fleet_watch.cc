#include "client/fleet/fleet_watch.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/stream_reader.h"
#include "base/nats/subject.h"
#include "client/output/formatter.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

constexpr absl::Duration kFirstBackoff = absl::Milliseconds(100);
constexpr absl::Duration kLongestBackoff = absl::Seconds(5);
// Delay until a stop is noticed.
constexpr absl::Duration kSlice = absl::Milliseconds(100);
constexpr size_t kMostOfBatch = 1000;

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
    position_ = *from;
    since_ = from->since;
    if (since_ > absl::InfinitePast()) filter_.since = since_;
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
  const auto state = ReadStreamState(connection->get(), kFleetStream);
  if (!state.ok()) return state.status();
  if (absl::Status status = CheckPosition(connection->get(), *state); !status.ok()) return status;
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

absl::Status FleetWatch::CheckPosition(NatsConnection* connection, const StreamState& state) {
  stream_ = absl::StrCat(kFleetStream, " of ", state.created);
  if (!position_) return started_ ? absl::OkStatus() : TakeStart(connection, state);
  const absl::StatusOr<bool> same = IsSame(connection, state);
  if (!same.ok()) return same.status();
  if (!*same) return GoOnByTime(state);
  position_->journal_id = stream_;
  CheckJump(state);
  if (position_->sequence + 1 >= state.first) return absl::OkStatus();
  return Gap(absl::StrCat("the stream no longer has the messages after ", position_->sequence,
                          ", its oldest is ", state.first),
             state);
}

absl::Status FleetWatch::TakeStart(NatsConnection* connection, const StreamState& state) {
  if (std::holds_alternative<FromNow>(command_.start)) {
    position_ = WatchPosition{state.last, stream_, "", state.last_time};
  } else if (std::holds_alternative<FromOldest>(command_.start)) {
    position_ = WatchPosition{state.first - 1, stream_, "", state.first_time};
  } else if (const auto* from = std::get_if<FromSequence>(&command_.start)) {
    position_ = WatchPosition{from->sequence, stream_};
    if (from->sequence < state.first || from->sequence > state.last) return absl::OkStatus();
    absl::StatusOr<std::optional<WatchPosition>> known = PositionAt(connection, from->sequence);
    if (!known.ok()) return known.status();
    if (known->has_value()) position_ = **std::move(known);
  } else if (const auto* since = std::get_if<FromTime>(&command_.start)) {
    start_ = since->time - kMostSkew;
    if (state.first > 1 && state.first <= state.last && state.first_time > since->time) {
      return Gap("the stream no longer has the messages of that time", state);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> FleetWatch::IsSame(NatsConnection* connection,
                                        const StreamState& state) const {
  const WatchPosition& known = *position_;
  if (known.sequence == 0) return true;  // nothing read yet
  if (known.sequence > state.last) return false;
  // The creation time says little: a restored copy has the old one.
  const bool same_name = known.journal_id == stream_;
  const absl::Time stored = known.message_time;
  if (known.sequence < state.first) {
    return same_name && (state.first > state.last || state.first_time >= stored);
  }
  const auto found = ReadMessageFrom(connection, kFleetStream, known.sequence);
  if (!found.ok()) return found.status();
  if (!found->has_value()) return same_name;
  const StoredMessage& message = **found;
  if (message.stream_sequence > known.sequence) return same_name && message.time >= stored;
  // The sequence does not suffice: another stream may have the same event at this place, and others
  // before it.
  if (stored == absl::InfinitePast()) return same_name;
  // A publisher can give a message several ids, of which two parsers take different ones.
  return message.time == stored && absl::StrContains(message.headers, known.message_id);
}

absl::StatusOr<std::optional<WatchPosition>> FleetWatch::PositionAt(NatsConnection* connection,
                                                                    uint64_t sequence) const {
  const auto message = ReadMessageFrom(connection, kFleetStream, sequence);
  if (!message.ok()) return message.status();
  if (!message->has_value() || (*message)->stream_sequence != sequence) return std::nullopt;
  return WatchPosition{sequence, stream_, IdToKeep(HeaderIn((*message)->headers, kMessageIdHeader)),
                       (*message)->time, since_};
}

// The stream's own GAP is of no node.
void FleetWatch::NoteGap(const std::string& sentence) {
  env_.note(absl::StrCat("GAP: ", sentence));
  if (!command_.identify || !position_) return;
  // A sink that ends the watch says so again at the next event.
  static_cast<void>(
      sink_->OnEvents(MakeGap({"", "", EscapeToken(position_->journal_id)}, *position_, sentence)));
}

absl::Status FleetWatch::Gap(const std::string& why, const StreamState& state) {
  const std::string missing = absl::StrCat("events may be missing: ", EscapeForTerminal(why));
  if (!command_.resume) return absl::OutOfRangeError(missing);
  NoteGap(absl::StrCat(missing, "; continuing with the oldest event that the stream ", kFleetStream,
                       " at ", env_.servers, " retains"));
  position_ = WatchPosition{state.first - 1, stream_, "", state.first_time, since_};
  jumped_after_.reset();
  return absl::OkStatus();
}

absl::Status FleetWatch::GoOnByTime(const StreamState& state) {
  const std::string why =
      absl::StrCat("the position ", position_->sequence, " is of another stream than the ", stream_,
                   ", which was deleted, restored from a copy or rolled back");
  // The first times of clocks are those of streams without a message.
  const absl::Time stored = position_->message_time;
  if (stored <= absl::UnixEpoch()) return Gap(why, state);
  const std::string missing = absl::StrCat("events may be missing: ", EscapeForTerminal(why));
  if (!command_.resume) return absl::OutOfRangeError(missing);
  since_ = stored - kMostSkew;
  NoteGap(absl::StrCat(missing, "; continuing with the events that were observed since ",
                       Rfc3339Text(since_), ", of which some may come again"));
  filter_.since = filter_.since ? std::max(*filter_.since, since_) : since_;
  start_ = since_;
  started_ = true;
  position_.reset();
  jumped_after_.reset();
  return absl::OkStatus();
}

void FleetWatch::CheckJump(const StreamState& state) {
  const std::optional<uint64_t> after = std::exchange(jumped_after_, std::nullopt);
  if (!after || state.first <= *after + 1) return;
  NoteGap(absl::StrCat("events may be missing: the stream ", kFleetStream, " at ", env_.servers,
                       " deleted messages after ", *after, " before they were read; its oldest is ",
                       state.first));
}

absl::Status FleetWatch::TakeSnapshot(NatsConnection* connection, const StreamState& state) {
  absl::StatusOr<NodeVms> all =
      ReadFleetVms(connection, filter_, {.note = env_.note, .clock = env_.clock, .now = env_.now});
  if (!all.ok()) return all.status();
  for (const auto& [vm, node, ends, last_end] : *all) {
    snapshot_[{node.cluster, node.name, vm.ref().name()}] = {node.journal_id, vm.last_sequence()};
  }
  std::erase_if(*all, [](const NodeVm& one) { return one.vm.state() == v1::VM_STATE_STOPPED; });
  if (!sink_->OnVms(*all)) return SinkEnds();
  return FollowSnapshot(connection, state);
}

absl::Status FleetWatch::FollowSnapshot(NatsConnection* connection, const StreamState& state) {
  start_ = state.last + 1;
  if (state.last < state.first) return absl::OkStatus();
  const auto nodes = ReadFleetNodes(connection, filter_, {.note = env_.note, .clock = env_.clock});
  if (!nodes.ok() && !absl::IsNotFound(nodes.status())) return nodes.status();
  // A node writes its VMs' states after their events, so that some of these may come twice. While
  // it catches up that may be long after.
  absl::Time start = state.last_time - kSnapshotOverlap;
  const absl::Time reach = state.last_time - kSnapshotReach;
  std::vector<std::pair<const v1::NodeHeartbeat*, absl::Time>> alone;
  if (nodes.ok()) {
    for (const v1::NodeHeartbeat& node : *nodes) {
      const absl::Time complete =
          FromProto(node.has_states_time() ? node.states_time() : node.time()) - kSnapshotOverlap;
      if (StateOf(node, env_.now()) == NodeState::kUp && complete >= reach) {
        start = std::min(start, complete);
      } else {
        alone.emplace_back(&node, complete);
      }
    }
  }
  start = std::max(start, state.first_time);
  start_ = start;
  // The last events of these nodes may be old.
  for (const auto& [node, complete] : alone) {
    if (complete >= start) continue;
    absl::Status status = DeliverTail(connection, *node, complete, start);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status FleetWatch::DeliverTail(NatsConnection* connection, const v1::NodeHeartbeat& node,
                                     absl::Time from, absl::Time until) {
  FleetFilter filter = filter_;
  filter.nodes = {absl::StrCat(node.cluster(), "/", node.node())};
  const auto reader =
      FleetEventReader::Open(connection, filter, from, {.note = env_.note, .clock = env_.clock});
  if (!reader.ok()) return reader.status();
  NodeEvents batch;
  while ((*reader)->pending() > 0) {
    auto next = (*reader)->Next(kPatience);
    if (!next.ok()) return next.status();
    if (!next->has_value()) return absl::UnavailableError("nothing came from the stream");
    FleetEventReader::Item item = **std::move(next);
    if (item.time >= until) break;
    if (!item.event || IsInSnapshot(*item.event)) continue;
    batch.push_back(*std::move(item.event));
    if (batch.size() < kMostOfBatch) continue;
    if (!sink_->OnEvents(std::exchange(batch, {}))) return SinkEnds();
  }
  return batch.empty() || sink_->OnEvents(std::move(batch)) ? absl::OkStatus() : SinkEnds();
}

// Returns whether the VM that was shown has the event already.
bool FleetWatch::IsInSnapshot(const NodeEvent& event) const {
  if (snapshot_.empty()) return false;
  const auto vm = snapshot_.find({event.node.cluster, event.node.name, event.event.vm().name()});
  return vm != snapshot_.end() && vm->second.first == event.node.journal_id &&
         event.event.sequence() <= vm->second.second;
}

absl::Status FleetWatch::ReadAll(NatsConnection* connection, FleetEventReader* reader) {
  asked_ = checked_ = env_.clock();
  while (!env_.stop->stopped()) {
    const absl::StatusOr<bool> came = TakeBatch(reader, kSlice);
    if (!came.ok()) return came.status();
    if (jumped_after_ && env_.clock() - checked_ >= kProgressInterval) {
      checked_ = env_.clock();
      const auto state = ReadStreamState(connection, kFleetStream);
      if (!state.ok()) return state.status();
      CheckJump(*state);
    }
    if (*came || env_.clock() - asked_ < kProgressInterval) continue;
    if (absl::Status status = MoveOn(connection, reader); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> FleetWatch::TakeBatch(FleetEventReader* reader, absl::Duration timeout) {
  NodeEvents batch;
  const size_t most = sink_->one_by_one() ? 1 : kMostOfBatch;
  std::optional<WatchPosition> last;
  absl::Status lost;
  while (batch.size() < most && !env_.stop->stopped()) {
    auto next = reader->Next(last ? absl::ZeroDuration() : timeout);
    if (!next.ok()) {
      lost = next.status();
      break;
    }
    if (!next->has_value()) break;
    const uint64_t sequence = (*next)->stream_sequence;
    const std::optional<WatchPosition>& before = last ? last : position_;
    if (before && sequence > before->sequence + 1 && !jumped_after_) {
      jumped_after_ = before->sequence;
    }
    last = {sequence, stream_, std::move((*next)->message_id), (*next)->time, since_};
    if ((*next)->event && !IsInSnapshot(*(*next)->event)) {
      batch.push_back(*std::move((*next)->event));
      batch.back().resume_after.position = *last;
    }
  }
  if (!last) return lost.ok() ? absl::StatusOr<bool>(false) : lost;
  if (!batch.empty() && !sink_->OnEvents(std::move(batch))) return SinkEnds();
  position_ = std::move(last);
  if (absl::Status status = ReportPosition(); !status.ok()) return status;
  if (!lost.ok()) return lost;
  return true;
}

absl::Status FleetWatch::MoveOn(NatsConnection* connection, FleetEventReader* reader) {
  asked_ = env_.clock();
  const absl::StatusOr<std::optional<uint64_t>> scanned = reader->AskScanned();
  if (!scanned.ok()) return scanned.status();
  if (!scanned->has_value() || **scanned == 0) return absl::OkStatus();
  if (position_ && position_->sequence >= **scanned) return ReportPosition();
  absl::StatusOr<std::optional<WatchPosition>> known = PositionAt(connection, **scanned);
  if (!known.ok()) return known.status();
  // The message is needed to recognise the stream at that position.
  if (!known->has_value()) return absl::OkStatus();
  position_ = *std::move(known);
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
