#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "client/commands/commands.h"
#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/consume/delivery.h"
#include "client/fleet/fleet.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream.h"
#include "client/nats/subject.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "client/push/pusher.h"
#include "client/push/request.h"
#include "client/run/run.h"
#include "vmeventd/v1/fleet.pb.h"

namespace vmeventd::client {
namespace {

constexpr absl::Duration kFirstPause = absl::Seconds(1);
constexpr absl::Duration kLongestPause = absl::Minutes(1);
// Nodes that come back together share the servers: each has one small batch under way.
constexpr size_t kBatch = 256;
// Interval of heartbeats: a node is silent after three.
constexpr absl::Duration kHeartbeatInterval = absl::Seconds(30);
// Interval in which all states are written again.
constexpr absl::Duration kRewrite = absl::Minutes(10);
// Shortest interval in which states are asked for and written.
constexpr absl::Duration kStatesInterval = absl::Seconds(1);
// Pause before a bucket that refused something is written again.
constexpr absl::Duration kBucketRetry = absl::Seconds(30);
// A server that acknowledges nothing for so long is lost.
constexpr absl::Duration kEventsTimeout = absl::Seconds(15);
constexpr absl::Duration kLeaveTimeout = absl::Milliseconds(500);
// Limit of names in a request for VMs: that of the daemon's patterns, as which names may count.
constexpr size_t kMaxNames = 32;

// Chooses of two runs with one name.
bool IsNewer(const v1::Vm& a, const v1::Vm& b) {
  const bool a_stopped = a.state() == v1::VM_STATE_STOPPED;
  const bool b_stopped = b.state() == v1::VM_STATE_STOPPED;
  return a_stopped != b_stopped ? b_stopped : a.last_sequence() > b.last_sequence();
}

// Events that the heartbeat counts wait to be published; also before the first.
bool IsBehind(const v1::NodeHeartbeat& heartbeat) {
  return !heartbeat.has_time() || heartbeat.newest_sequence() > heartbeat.published_sequence();
}

// Publishes the events of one node into the fleet's stream over one connection, at least once and
// in order; and, behind them, the last state of each VM and the node's heartbeat into the buckets,
// for which no event waits. One thread.
class FleetSession : public EventConsumer {
 public:
  // `daemon`, which is asked for its VMs, and what `push` points to outlive the session.
  static absl::StatusOr<std::unique_ptr<FleetSession>> Open(const PushRun& push,
                                                            NatsConnection* connection,
                                                            const CommandContext& daemon,
                                                            MessageNode node) {
    auto session = absl::WrapUnique(new FleetSession(push, connection, daemon, std::move(node)));
    for (const auto& [writer, stream] :
         {std::pair(&session->events_, std::string(kFleetStream)),
          std::pair(&session->heartbeats_.writer, BucketStream(kNodesBucket)),
          std::pair(&session->states_.writer, BucketStream(kVmsBucket))}) {
      auto opened = StreamWriter::Open(connection, stream);
      if (!opened.ok()) return opened.status();
      *writer = *std::move(opened);
    }
    return session;
  }

  // The stream has everything of the node's journal up to this event, and its last message there;
  // 0: none.
  void set_published(uint64_t sequence, uint64_t last_message) {
    published_ = sequence;
    last_message_ = last_message;
  }

  // OK: the stream has them. What it refuses for good is a GAP.
  absl::Status Consume(Formatter::Events events) override {
    if (absl::Status status = CheckStream(); !status.ok()) return status;
    std::vector<NatsMessage> messages;
    messages.reserve(events.size());
    for (const auto& [event, of, resume_after] : events) {
      if (of.name != node_.name) {
        return absl::UnavailableError(
            absl::StrCat("the node ", node_.name, " is named ", of.name, " now"));
      }
      if (std::exchange(node_.journal_id, of.journal_id) != of.journal_id) {
        published_ = 0;
        heartbeats_.due = rewrite_at_ = absl::InfinitePast();
      }
      v1::Event stored = event;
      stored.set_durable(true);  // the stream is; a GAP that no journal has is not
      absl::StatusOr<NatsMessage> message = FleetMessageOf(stored, node_, json_);
      if (!message.ok()) return message.status();
      messages.push_back(*std::move(message));
    }
    std::vector<size_t> unfit;
    absl::Status status = Write(std::move(messages), &unfit);
    if (!status.ok()) return status;
    for (const size_t i : unfit) {
      const uint64_t sequence = events[i].event.sequence();
      status = PublishGap(node_, sequence, sequence, "the stream refuses it: too large");
      if (!status.ok()) return status;
    }
    for (const auto& [event, of, resume_after] : events) {
      published_ = std::max(published_, event.sequence());
      // An event of no VM, such as a GAP, may stand for any of them.
      if (event.vm().name().empty()) {
        rewrite_at_ = absl::InfinitePast();
      } else {
        changed_.insert(event.vm().name());
      }
    }
    if (IsBehind(heartbeat_)) heartbeats_.due = absl::InfinitePast();
    push_.log->Delivered(events);
    return absl::OkStatus();
  }

  // Publishes that these events of the node are not in the stream.
  absl::Status PublishGap(const MessageNode& of, uint64_t first, uint64_t last,
                          const std::string& why) {
    v1::Event gap;
    gap.set_sequence(last);
    *gap.mutable_observe_time() = ToProto(absl::Now());
    gap.set_type(v1::EVENT_TYPE_GAP);
    gap.set_gap_reason(v1::GAP_REASON_NOT_PUBLISHED);
    gap.set_durable(true);  // the stream is
    const std::string events = first == last
                                   ? absl::StrCat("the event ", first, " is")
                                   : absl::StrCat("the events ", first, " to ", last, " are");
    gap.set_message(absl::StrCat(events, " not in the fleet's stream: ", why));
    gap.mutable_missing()->set_first(first);
    gap.mutable_missing()->set_last(last);
    absl::StatusOr<NatsMessage> message = FleetMessageOf(gap, of, json_);
    if (!message.ok()) return message.status();
    std::vector<size_t> unfit;
    if (absl::Status status = Write({*std::move(message)}, &unfit); !status.ok()) return status;
    if (!unfit.empty()) {
      return absl::UnavailableError(absl::StrCat(
          "the stream ", kFleetStream,
          " refuses even a GAP: its max_msg_size, or the server's max_payload, is too small"));
    }
    push_.log->Note(absl::StrCat("GAP: ", EscapeForTerminal(gap.message())));
    return absl::OkStatus();
  }

  // Writes what is due into the buckets. False: the connection is lost.
  bool Tick() {
    if (connection_->closed()) return false;
    const absl::Time now = SteadyNow();
    for (Bucket* bucket : {&heartbeats_, &states_}) {
      const absl::StatusOr<bool> stored = bucket->writer->ReadAnswers();
      NoteFailure(stored.status(), bucket);
      if (stored.ok() && *stored) bucket->noted.clear();
    }
    if (now >= heartbeats_.due) {
      heartbeats_.due = now + kHeartbeatInterval;
      const absl::Status status = WriteHeartbeat();
      NoteFailure(status, &heartbeats_);
      if (status.ok() && !IsBehind(heartbeat_)) push_.log->Recovered();
    }
    if (now >= states_.due && (!changed_.empty() || now >= rewrite_at_)) {
      states_.due = now + kStatesInterval;
      NoteFailure(WriteStates(), &states_);
    }
    return !connection_->closed();
  }

  // The last heartbeat, of a node that stops publishing. Does not wait for an acknowledgement.
  void Leave() {
    // One whose daemon or bucket was lost stays silent.
    if (!heartbeat_.has_time() || !heartbeats_.noted.empty() || connection_->closed()) return;
    *heartbeat_.mutable_time() = ToProto(absl::Now());
    heartbeat_.clear_interval();
    heartbeat_.set_published_sequence(published_);
    // A heartbeat that is lost makes the node silent instead.
    if (SendHeartbeat().ok()) (void)connection_->Flush(kLeaveTimeout);
  }

 private:
  struct Bucket {
    const char* values;  // for people
    std::unique_ptr<StreamWriter> writer = nullptr;
    absl::Time due = absl::InfinitePast();  // when to write next; steady
    std::string noted = {};                 // the last failure; empty: it was written since
  };

  FleetSession(const PushRun& push, NatsConnection* connection, const CommandContext& daemon,
               MessageNode node)
      : push_(push),
        connection_(connection),
        daemon_(daemon),
        json_(push.command.format == PushFormat::kJson),
        node_(std::move(node)) {}

  // Checks that the stream still has the node's last message, unless its limits have deleted that.
  // Otherwise another one may be in its place, by a wipe or from a copy, of which the connection
  // shows nothing.
  absl::Status CheckStream() {
    if (last_message_ == 0) return absl::OkStatus();
    const auto stored = ReadMessage(connection_, kFleetStream, last_message_);
    if (!stored.ok() && !absl::IsNotFound(stored.status())) return stored.status();
    const std::string own = NodeSubjectPrefix(node_.cluster, node_.name);
    if (stored.ok() && absl::StartsWith(stored->message.subject, own)) return absl::OkStatus();
    const auto state = ReadStreamState(connection_, kFleetStream);
    if (!state.ok()) return state.status();
    if (!stored.ok() && state->first > last_message_) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat("the stream ", kFleetStream, " has lost the node's last message"));
  }

  absl::Status Write(std::vector<NatsMessage> messages, std::vector<size_t>* unfit) {
    absl::Status status =
        events_->Write(std::move(messages), kEventsTimeout, push_.stop->token(), unfit);
    if (status.ok() && events_->last_stored() > 0) last_message_ = events_->last_stored();
    return status;
  }

  absl::Status WriteHeartbeat() {
    v1::GetServerInfoResponse info;
    // A node whose VMs nobody observes falls silent.
    if (const auto failure = ReadInfo(daemon_, &info)) {
      return absl::UnavailableError(failure->sentence);
    }
    const bool known = info.journal_id() == node_.journal_id;
    heartbeat_.set_cluster(node_.cluster);
    heartbeat_.set_node(node_.name);
    heartbeat_.set_version(info.version());
    heartbeat_.set_journal_id(node_.journal_id);
    heartbeat_.set_newest_sequence(known ? info.newest_sequence() : published_);
    heartbeat_.set_published_sequence(published_);
    heartbeat_.set_vms(static_cast<uint64_t>(info.vms()));
    *heartbeat_.mutable_time() = ToProto(absl::Now());
    *heartbeat_.mutable_interval() = ToProto(kHeartbeatInterval);
    const absl::Time newest = push_.log->state().observed_until;
    if (newest > absl::UnixEpoch()) *heartbeat_.mutable_newest_event_time() = ToProto(newest);
    return SendHeartbeat();
  }

  absl::Status SendHeartbeat() {
    absl::StatusOr<NatsMessage> message =
        FleetMessage(KeySubject(kNodesBucket, NodeBucketKey(node_.cluster, node_.name)), heartbeat_,
                     node_, json_);
    return message.ok() ? heartbeats_.writer->Send(*std::move(message)) : message.status();
  }

  // Writes the states of the VMs with events since the last time, or of all. Of several runs with
  // one name the one that runs counts, or else the one with the newest event.
  absl::Status WriteStates() {
    const bool all = SteadyNow() >= rewrite_at_;
    VmsCommand command;
    command.include_stopped = true;
    // A node may have thousands of VMs, of which few change in an interval.
    if (!all && changed_.size() <= kMaxNames) {
      command.filter.mutable_vm_names()->Add(changed_.begin(), changed_.end());
    }
    NodeVms vms;
    if (const auto failure = DaemonLists(daemon_).ReadVms(command, &vms)) {
      return absl::UnavailableError(failure->sentence);
    }
    std::map<std::string, NodeVm*> newest;
    for (NodeVm& one : vms) {
      // The state is written once its newest event, which is on its way, was published: of a
      // journal that has replaced the present one, none was.
      const bool present = one.node.journal_id == node_.journal_id;
      if (one.vm.last_sequence() > (present ? published_ : 0)) continue;
      NodeVm*& known = newest[one.vm.ref().name()];
      if (known == nullptr || IsNewer(one.vm, known->vm)) known = &one;
    }
    for (const auto& [name, one] : newest) {
      if (!all && !changed_.contains(name)) continue;
      MessageNode of = node_;
      of.journal_id = one->node.journal_id;
      absl::StatusOr<NatsMessage> message = FleetMessage(
          KeySubject(kVmsBucket, VmBucketKey(of.cluster, of.name, name)), one->vm, of, json_);
      absl::Status sent =
          message.ok() ? states_.writer->Send(*std::move(message)) : message.status();
      // One that is too large is left out: the others do not wait for it.
      if (!sent.ok() && !absl::IsInvalidArgument(sent)) return sent;
    }
    changed_.clear();
    if (all) rewrite_at_ = SteadyNow() + kRewrite;
    return absl::OkStatus();
  }

  // Notes a failure, each reason once, and has everything written again after a pause.
  void NoteFailure(const absl::Status& status, Bucket* bucket) {
    if (status.ok()) return;
    bucket->due = SteadyNow() + kBucketRetry;
    if (bucket == &states_) rewrite_at_ = absl::InfinitePast();
    const std::string reason(status.message());
    if (std::exchange(bucket->noted, reason) == reason) return;
    push_.log->Note(absl::StrCat("cannot write ", bucket->values, ": ", EscapeForTerminal(reason),
                                 "; this delays no event"));
  }

  const PushRun& push_;
  NatsConnection* const connection_;
  const CommandContext& daemon_;
  const bool json_;  // payloads
  std::unique_ptr<StreamWriter> events_;
  Bucket heartbeats_{"the node's heartbeat"};
  Bucket states_{"the VMs' last states"};
  MessageNode node_;  // with its cluster and its journal
  uint64_t published_ = 0;
  uint64_t last_message_ = 0;      // the node's last of the stream; 0: it has none
  std::set<std::string> changed_;  // VMs whose states are to be written
  v1::NodeHeartbeat heartbeat_;    // the last; empty: there was none
  // When all states are written again, so that what the bucket lost comes back; steady.
  absl::Time rewrite_at_ = absl::InfinitePast();
};

// Publishes the node until a stop. Each attempt has a connection to the servers and a stream of the
// daemon that begins behind the cursor; after any doubt another one begins.
class FleetPush {
 public:
  explicit FleetPush(const PushRun& push) : push_(push), server_(CursorKeys(push.line).front()) {}

  ExitCode Run() {
    Backoff backoff(kFirstPause, kLongestPause);
    while (!push_.stop->stopped()) {
      CommandContext daemon(push_.line.server());
      daemon.patience = absl::ZeroDuration();  // a wait for the daemon would hold up the events
      v1::GetServerInfoResponse info;
      auto failure = ReadInfo(daemon, &info);
      if (!failure) {
        const absl::Status status = RunOnce(daemon, info);
        failure = Failure{ExitCode::kFailed, EscapeForTerminal(status.message())};
      }
      if (code_) return *code_;
      if (push_.stop->stopped()) break;
      if (push_.log->state().failing_since == absl::InfinitePast()) backoff.Reset();
      push_.log->Failed(failure->sentence);
      push_.log->Waits(failure->sentence, {});
      if (push_.stop->WaitFor(backoff.Next(RandomFraction()))) break;
    }
    return ExitCode::kOk;
  }

 private:
  // One attempt; why it ended. `code_` is set where no other one would help.
  absl::Status RunOnce(const CommandContext& daemon, const v1::GetServerInfoResponse& info) {
    const PushCommand& command = push_.command;
    const MessageNode node = {info.node(), command.cluster, info.journal_id(), {}};
    const auto connection = ConnectNats(
        {.servers = push_.target.nats,
         .name = absl::StrCat("vmevents push ", node.name),
         .credentials = command.credentials,
         .tls = command.tls,
         .domain = command.domain,
         .inbox_prefix = absl::StrCat("_INBOX.vmeventd.", NodeBucketKey(node.cluster, node.name))});
    if (!connection.ok()) return connection.status();
    const auto session = FleetSession::Open(push_, connection->get(), daemon, node);
    if (!session.ok()) return session.status();
    absl::Status status = FindStart(connection->get(), node, session->get());
    if (!status.ok()) return status;
    const std::unique_ptr<Source> source = SourceOf(push_);
    if (!std::exchange(announced_, true)) push_.announce();
    Delivery delivery({.consumer = session->get(), .cursor = push_.cursor, .servers = {server_}});
    const ExitCode code = DeliverBatches(source.get(), {.events = kBatch}, &delivery, [&] {
      push_.log->Loss(source->loss());
      return (*session)->Tick();
    });
    if (push_.stop->stopped() && source->loss().empty()) (*session)->Leave();
    if (!delivery.status().ok()) return delivery.status();
    if (code != ExitCode::kOk) code_ = code;
    const std::string complaint = (*connection)->complaint();
    return absl::UnavailableError(complaint.empty() ? "the connection is lost" : complaint);
  }

  // Finds what the stream has of the node, and moves the cursor where that is less than was
  // acknowledged, of which the stream gets a GAP if it has none.
  absl::Status FindStart(NatsConnection* connection, const MessageNode& node,
                         FleetSession* session) {
    const absl::StatusOr<StreamState> stream = ReadStreamState(connection, kFleetStream);
    if (absl::IsNotFound(stream.status())) {
      return absl::UnavailableError(absl::StrCat("there is no stream ", kFleetStream,
                                                 ": create it by `vmevents fleet create`"));
    }
    if (!stream.ok()) return stream.status();
    if (std::exchange(unsafe_, stream->unsafe) != stream->unsafe && !stream->unsafe.empty()) {
      push_.log->Note(
          absl::StrCat("the stream ", kFleetStream, " is unsafe: ", stream->unsafe,
                       "; `vmevents fleet create` corrects that, or names the obstacle"));
    }
    const absl::StatusOr<StoredMessage> last =
        ReadLastMessage(connection, kFleetStream, NodeSubjects(node.cluster, node.name));
    if (!last.ok() && !absl::IsNotFound(last.status())) return last.status();
    const std::optional<WatchPosition> position = push_.cursor->Find(server_);
    MessageNode of = node;
    if (position) of.journal_id = position->journal_id;
    const std::optional<uint64_t> stored = last.ok() ? SequenceIn(last->message, of) : std::nullopt;
    const uint64_t acknowledged = position ? position->sequence : stored.value_or(0);
    // Events behind the position were not acknowledged: they are sent again.
    const uint64_t begin = std::min(stored.value_or(acknowledged), acknowledged);
    if (position && begin < acknowledged) {
      push_.log->Note(absl::StrCat("the stream ", kFleetStream,
                                   " was restored or rolled back: it has the events up to ", begin,
                                   " of ", acknowledged, "; the rest is published again"));
    }
    if ((!position && begin > 0) || begin < acknowledged) {
      absl::Status saved = push_.cursor->Save(server_, {begin, of.journal_id});
      if (!saved.ok()) return saved;
    }
    session->set_published(of.journal_id == node.journal_id ? begin : 0,
                           last.ok() ? last->stream_sequence : 0);
    // Its limit has deleted the events of a node that was quiet for so long.
    const bool quiet = absl::Now() - push_.log->state().last_success >= kStreamMaxAge;
    if (last.ok() || acknowledged == 0 || quiet) return absl::OkStatus();
    return session->PublishGap(of, 1, acknowledged,
                               "it was created again, was restored, or has deleted them");
  }

  const PushRun& push_;
  const std::string server_;  // key in the cursor
  std::string unsafe_;        // what was noted of the stream's settings
  bool announced_ = false;
  std::optional<ExitCode> code_;
};

}  // namespace

ExitCode RunFleetPush(const PushRun& push) {
  if (const absl::Status& loaded = LoadNatsLibrary(); !loaded.ok()) {
    push.log->Note(absl::StrCat("push: ", loaded.message()));
    return ExitCode::kFailed;
  }
  return FleetPush(push).Run();
}

}  // namespace vmeventd::client
