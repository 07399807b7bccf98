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

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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
constexpr absl::Duration kHeartbeat = absl::Seconds(30);
// Interval in which all states are written again: what the bucket lost comes back.
constexpr absl::Duration kRewrite = absl::Minutes(10);
// Shortest interval in which states are asked for and written.
constexpr absl::Duration kStatesInterval = absl::Seconds(1);
// Pause before a bucket that failed is tried again.
constexpr absl::Duration kBucketRetry = absl::Seconds(30);
// A server that acknowledges nothing for so long is lost; a bucket is tried again later.
constexpr absl::Duration kEventsTimeout = absl::Seconds(15);
constexpr absl::Duration kBucketTimeout = absl::Seconds(5);
constexpr absl::Duration kLeaveTimeout = absl::Milliseconds(500);
constexpr absl::Duration kSearchTimeout = absl::Minutes(1);
constexpr size_t kMaxOfWrite = 256;
// Limit of names in a request for VMs: that of the daemon's patterns, as which names may count.
constexpr size_t kMaxNames = 32;

// Chooses of two runs with one name.
bool IsNewer(const v1::Vm& a, const v1::Vm& b) {
  const bool a_stopped = a.state() == v1::VM_STATE_STOPPED;
  const bool b_stopped = b.state() == v1::VM_STATE_STOPPED;
  return a_stopped != b_stopped ? b_stopped : a.last_sequence() > b.last_sequence();
}

v1::Event GapOf(uint64_t first, uint64_t last, absl::string_view why) {
  v1::Event event;
  event.set_sequence(last);
  *event.mutable_observe_time() = ToProto(absl::Now());
  event.set_type(v1::EVENT_TYPE_GAP);
  event.set_gap_reason(v1::GAP_REASON_NOT_PUBLISHED);
  event.set_durable(true);  // the stream is
  event.set_message(
      absl::StrCat("the events ", first, " to ", last, " are not in the fleet's stream: ", why));
  event.mutable_missing()->set_first(first);
  event.mutable_missing()->set_last(last);
  return event;
}

// Events that the heartbeat counts wait to be published; also before the first.
bool IsBehind(const v1::NodeHeartbeat& heartbeat) {
  return !heartbeat.has_time() || heartbeat.newest_sequence() > heartbeat.published_sequence();
}

// Publishes the events of one node into the fleet's stream over one connection, at least once and
// in order; and, behind them, the last state of each VM and the node's heartbeat into the buckets,
// whose failures delay no event. One thread.
class FleetSession : public EventConsumer {
 public:
  // `node` has its cluster and its journal, of which the stream has everything up to `published`.
  // The pointers and `daemon`, which is asked for its VMs, outlive it.
  FleetSession(NatsConnection* connection, const CommandContext& daemon, MessageNode node,
               bool json, uint64_t published, PushLog* log, std::unique_ptr<StreamWriter> writer)
      : connection_(connection),
        daemon_(daemon),
        json_(json),
        log_(log),
        writer_(std::move(writer)),
        node_(std::move(node)),
        published_(published) {}

  // OK: the stream has them. What it refuses for good is a GAP.
  absl::Status Consume(Formatter::Events events) override {
    std::vector<NatsMessage> messages;
    messages.reserve(events.size());
    for (const auto& [event, of, resume_after] : events) {
      if (of.name != node_.name) {
        return absl::UnavailableError(
            absl::StrCat("the node ", node_.name, " is named ", of.name, " now"));
      }
      if (std::exchange(node_.journal_id, of.journal_id) != of.journal_id) {
        published_ = 0;
        rewrite_at_ = absl::InfinitePast();
      }
      absl::StatusOr<NatsMessage> message = FleetMessageOf(event, node_, json_);
      if (!message.ok()) return message.status();
      messages.push_back(*std::move(message));
    }
    std::vector<size_t> unfit;
    absl::Status status = writer_->Write(kFleetStream, messages, kEventsTimeout, &unfit);
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
    if (IsBehind(heartbeat_)) heartbeat_at_ = absl::InfinitePast();
    log_->Delivered(events);
    return absl::OkStatus();
  }

  // Publishes that these events of the node are not in the stream.
  absl::Status PublishGap(const MessageNode& of, uint64_t first, uint64_t last,
                          const std::string& why) {
    const v1::Event gap = GapOf(first, last, why);
    absl::StatusOr<NatsMessage> message = FleetMessageOf(gap, of, json_);
    if (!message.ok()) return message.status();
    std::vector<size_t> unfit;
    absl::Status status = writer_->Write(kFleetStream, {*message}, kEventsTimeout, &unfit);
    if (!status.ok()) return status;
    if (!unfit.empty()) {
      return absl::UnavailableError(absl::StrCat(
          "the stream ", kFleetStream,
          " refuses even a GAP: its max_msg_size, or the server's max_payload, is too small"));
    }
    log_->Note(absl::StrCat("GAP: ", EscapeForTerminal(gap.message())));
    return absl::OkStatus();
  }

  // Writes what is due into the buckets. False: the connection is lost.
  bool Tick() {
    const absl::Time now = SteadyNow();
    if (now >= std::max(heartbeat_at_, heartbeat_retry_at_)) {
      const absl::Status status = WriteHeartbeat();
      heartbeat_at_ = now + kHeartbeat;
      heartbeat_retry_at_ = status.ok() ? absl::InfinitePast() : now + kBucketRetry;
      NoteBucket("the node's heartbeat", status, &noted_heartbeat_);
      if (status.ok() && !IsBehind(heartbeat_)) log_->Recovered();
    }
    if (now >= states_at_ && (!changed_.empty() || now >= rewrite_at_)) {
      const absl::Status status = WriteStates();
      states_at_ = now + (status.ok() ? kStatesInterval : kBucketRetry);
      NoteBucket("the VMs' last states", status, &noted_states_);
    }
    return !connection_->closed();
  }

  // The last heartbeat, of a node that stops publishing. Does not wait for an acknowledgement.
  void Leave() {
    if (!heartbeat_.has_time() || connection_->closed()) return;
    *heartbeat_.mutable_time() = ToProto(absl::Now());
    heartbeat_.clear_interval();
    heartbeat_.set_published_sequence(published_);
    const absl::StatusOr<NatsMessage> message = HeartbeatMessage();
    if (!message.ok()) return;
    // A heartbeat that is lost makes the node silent instead.
    (void)connection_->Publish(*message);
    (void)connection_->Flush(kLeaveTimeout);
  }

 private:
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
    *heartbeat_.mutable_interval() = ToProto(kHeartbeat);
    const absl::Time newest = log_->state().observed_until;
    if (newest > absl::UnixEpoch()) *heartbeat_.mutable_newest_event_time() = ToProto(newest);
    const absl::StatusOr<NatsMessage> message = HeartbeatMessage();
    return message.ok() ? WriteBucket(kNodesBucket, {*message}) : message.status();
  }

  absl::StatusOr<NatsMessage> HeartbeatMessage() const {
    return FleetMessage(KeySubject(kNodesBucket, NodeBucketKey(node_.cluster, node_.name)),
                        heartbeat_, node_, json_);
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
    std::map<std::string, const v1::Vm*> newest;
    for (const NodeVm& one : vms) {
      // The state is written once its newest event, which is on its way, was published.
      if (one.vm.last_sequence() > published_) continue;
      const v1::Vm*& known = newest[one.vm.ref().name()];
      if (known == nullptr || IsNewer(one.vm, *known)) known = &one.vm;
    }
    std::vector<NatsMessage> messages;
    for (const auto& [name, vm] : newest) {
      if (!all && changed_.count(name) == 0) continue;
      absl::StatusOr<NatsMessage> message = FleetMessage(
          KeySubject(kVmsBucket, VmBucketKey(node_.cluster, node_.name, name)), *vm, node_, json_);
      if (!message.ok()) return message.status();
      messages.push_back(*std::move(message));
    }
    if (absl::Status status = WriteBucket(kVmsBucket, messages); !status.ok()) return status;
    changed_.clear();
    if (all) rewrite_at_ = SteadyNow() + kRewrite;
    return absl::OkStatus();
  }

  absl::Status WriteBucket(absl::string_view bucket, const std::vector<NatsMessage>& messages) {
    std::vector<size_t> unfit;
    for (size_t at = 0; at < messages.size(); at += kMaxOfWrite) {
      const auto begin = messages.begin() + static_cast<std::ptrdiff_t>(at);
      const auto count = static_cast<std::ptrdiff_t>(std::min(kMaxOfWrite, messages.size() - at));
      absl::Status status =
          writer_->Write(BucketStream(bucket), {begin, begin + count}, kBucketTimeout, &unfit);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // Reports the failure once, until the bucket takes something again.
  void NoteBucket(const char* what, const absl::Status& status, std::string* noted) {
    const std::string reason(status.message());
    if (!status.ok() && !absl::IsCancelled(status) && reason != *noted) {
      log_->Note(absl::StrCat("cannot write ", what, ": ", EscapeForTerminal(reason),
                              "; this delays no event"));
    }
    *noted = reason;
  }

  NatsConnection* const connection_;
  const CommandContext& daemon_;
  const bool json_;  // payloads
  PushLog* const log_;
  const std::unique_ptr<StreamWriter> writer_;
  MessageNode node_;
  uint64_t published_;
  std::set<std::string> changed_;  // VMs whose states are to be written
  v1::NodeHeartbeat heartbeat_;    // the last; empty: there was none
  // Due time of the heartbeat; steady, as the next three.
  absl::Time heartbeat_at_ = absl::InfinitePast();
  absl::Time heartbeat_retry_at_ = absl::InfinitePast();  // it failed, and is not tried before
  absl::Time rewrite_at_ = absl::InfinitePast();
  absl::Time states_at_ = absl::InfinitePast();  // the bucket of VMs is not tried before
  std::string noted_heartbeat_;
  std::string noted_states_;
};

// Publishes the node until a stop. Each attempt has a connection to the servers and a stream of the
// daemon that begins behind the cursor; after any doubt another one begins.
class FleetPush {
 public:
  FleetPush(const PushCommand& command, const CommandLine& line, const PushTarget& target,
            CursorFile* cursor, PushLog* log, StopSource* stop,
            const std::function<void()>& announce)
      : command_(command),
        line_(line),
        target_(target),
        cursor_(cursor),
        log_(log),
        stop_(stop),
        announce_(announce),
        server_(CursorKeys(line).front()) {}

  ExitCode Run() {
    Backoff backoff(kFirstPause, kLongestPause);
    while (!stop_->stopped()) {
      const uint64_t before = log_->state().requests;
      absl::Status status;
      CommandContext daemon(line_.server());
      daemon.patience = absl::ZeroDuration();  // a wait for the daemon would hold up the events
      v1::GetServerInfoResponse info;
      const auto failure = ReadInfo(daemon, &info);
      if (!failure) status = RunOnce(daemon, info);
      if (code_) return *code_;
      if (stop_->stopped()) break;
      const std::string why = failure ? failure->sentence : EscapeForTerminal(status.message());
      log_->Failed(why);
      log_->Waits(why, {});
      if (log_->state().requests > before) backoff.Reset();
      if (stop_->WaitFor(backoff.Next(RandomFraction()))) break;
    }
    return ExitCode::kOk;
  }

 private:
  // One attempt; why it ended. `code_` is set where no other one would help.
  absl::Status RunOnce(const CommandContext& daemon, const v1::GetServerInfoResponse& info) {
    const MessageNode node = {info.node(), command_.cluster, info.journal_id(), {}};
    const auto connection = ConnectNats(
        {.servers = target_.nats,
         .name = absl::StrCat("vmevents push ", node.name),
         .credentials = command_.credentials,
         .tls = command_.tls,
         .domain = command_.domain,
         .inbox_prefix = absl::StrCat("_INBOX.vmeventd.", NodeBucketKey(node.cluster, node.name))});
    if (!connection.ok()) return connection.status();
    const absl::StatusOr<uint64_t> published = FindStart(connection->get(), node);
    if (!published.ok()) return published.status();
    auto writer = StreamWriter::Open(connection->get(), stop_->token());
    if (!writer.ok()) return writer.status();
    const std::optional<WatchPosition> position = cursor_->Find(server_);
    FleetSession session(connection->get(), daemon, node, command_.format == PushFormat::kJson,
                         *published, log_, *std::move(writer));
    if (lacks_all_) {
      MessageNode of = node;
      of.journal_id = position->journal_id;
      absl::Status status = session.PublishGap(
          of, 1, position->sequence, "it was created again, was restored, or has deleted them");
      if (!status.ok()) return status;
    }
    const MadeSource source =
        MakeSource(command_.follow, line_, PositionsIn(cursor_), stop_, PrintNote);
    if (const auto* failure = std::get_if<Failure>(&source)) {
      return absl::UnavailableError(failure->sentence);
    }
    if (!std::exchange(announced_, true)) announce_();
    Delivery delivery({.consumer = &session, .cursor = cursor_, .servers = {server_}});
    const ExitCode code =
        DeliverBatches(std::get<std::unique_ptr<Source>>(source).get(), {.events = kBatch},
                       &delivery, [&session] { return session.Tick(); });
    if (stop_->stopped()) session.Leave();
    if (!delivery.status().ok()) return delivery.status();
    if (code != ExitCode::kOk) code_ = code;
    const std::string complaint = (*connection)->complaint();
    return absl::UnavailableError(complaint.empty() ? "the connection is lost" : complaint);
  }

  // Finds what the stream has of the node, and moves the cursor where that is less than was
  // acknowledged. Returns what the stream has everything up to.
  absl::StatusOr<uint64_t> FindStart(NatsConnection* connection, const MessageNode& node) {
    const absl::StatusOr<StreamState> stream = ReadStreamState(connection, kFleetStream);
    if (absl::IsNotFound(stream.status())) {
      return absl::UnavailableError(absl::StrCat("there is no stream ", kFleetStream,
                                                 ": create it by `vmevents fleet create`"));
    }
    if (!stream.ok()) return stream.status();
    if (!stream->unfit.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("the stream ", kFleetStream, " cannot be used: ", stream->unfit,
                       ": create another one by `vmevents fleet create`"));
    }
    if (std::exchange(unsafe_, stream->unsafe) != stream->unsafe && !stream->unsafe.empty()) {
      log_->Note(absl::StrCat("the stream ", kFleetStream, " is unsafe: ", stream->unsafe,
                              "; `vmevents fleet create` turns that off"));
    }
    const absl::StatusOr<StoredMessage> last = ReadLastMessage(
        connection, kFleetStream, NodeSubjects(node.cluster, node.name), kSearchTimeout);
    if (!last.ok() && !absl::IsNotFound(last.status())) return last.status();
    const std::optional<WatchPosition> position = cursor_->Find(server_);
    MessageNode of = node;
    if (position) of.journal_id = position->journal_id;
    const std::optional<uint64_t> stored = last.ok() ? SequenceIn(last->message, of) : std::nullopt;
    const uint64_t acknowledged = position ? position->sequence : stored.value_or(0);
    // Its limit has deleted the events of a node that was quiet for so long.
    lacks_all_ =
        !last.ok() && acknowledged > 0 && absl::Now() - log_->state().last_success < kStreamMaxAge;
    // Events behind the position were not acknowledged: they are sent again.
    const uint64_t begin = std::min(stored.value_or(acknowledged), acknowledged);
    if (position && begin < acknowledged) {
      log_->Note(absl::StrCat("the stream ", kFleetStream,
                              " was restored or rolled back: it has the events up to ", begin,
                              " of ", acknowledged, "; the rest is published again"));
    }
    if ((!position && begin > 0) || begin < acknowledged) {
      const absl::Status saved = cursor_->Save(server_, {begin, of.journal_id});
      if (!saved.ok()) return saved;
    }
    return of.journal_id == node.journal_id ? begin : 0;
  }

  const PushCommand& command_;
  const CommandLine& line_;
  const PushTarget& target_;
  CursorFile* const cursor_;
  PushLog* const log_;
  StopSource* const stop_;
  const std::function<void()>& announce_;
  const std::string server_;  // key in the cursor
  std::string unsafe_;        // what was noted of the stream's settings
  bool lacks_all_ = false;    // the stream has none of the events up to the position
  bool announced_ = false;
  std::optional<ExitCode> code_;
};

}  // namespace

ExitCode RunFleetPush(const PushCommand& command, const CommandLine& line, const PushTarget& target,
                      CursorFile* cursor, PushLog* log, StopSource* stop,
                      const std::function<void()>& announce) {
  if (const absl::Status loaded = LoadNatsLibrary(); !loaded.ok()) {
    log->Note(absl::StrCat("push: ", loaded.message()));
    return ExitCode::kFailed;
  }
  return FleetPush(command, line, target, cursor, log, stop, announce).Run();
}

}  // namespace vmeventd::client
