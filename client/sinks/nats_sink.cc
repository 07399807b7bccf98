#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/loopback.h"
#include "client/cli/option.h"
#include "client/cli/option_file.h"
#include "client/fleet/cloud_event.h"
#include "client/fleet/create_fleet.h"
#include "client/fleet/fleet_buckets.h"
#include "client/fleet/fleet_message.h"
#include "client/fleet/fleet_subjects.h"
#include "client/nats/connection.h"
#include "client/nats/domain.h"
#include "client/nats/jetstream.h"
#include "client/nats/message.h"
#include "client/nats/url.h"
#include "client/output/formatter.h"
#include "client/output/message_node.h"
#include "client/output/node_vm.h"
#include "client/output/terminal_text.h"
#include "client/output/watch_position.h"
#include "client/sinks/push_log.h"
#include "client/sinks/push_sink.h"
#include "client/sinks/sink_options.h"
#include "client/sources/daemon_info.h"
#include "client/sources/daemon_lists.h"
#include "client/sources/daemon_node.h"
#include "client/sources/watch_positions.h"
#include "vmeventd/v1/fleet.pb.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

// Number of events between two checks of the stream. Each event waits for the acknowledgement of
// the one before it.
constexpr size_t kBatch = 64;
// Interval of heartbeats: a node is silent after three.
constexpr absl::Duration kHeartbeatInterval = absl::Seconds(30);
// Interval in which all states are written again.
constexpr absl::Duration kRewrite = absl::Minutes(10);
// States are requested at intervals of at least kStatesInterval, and of at least kStatesShare times
// the time that the daemon took to answer.
constexpr absl::Duration kStatesInterval = absl::Seconds(1);
constexpr int kStatesShare = 50;
// The longest time for which events wait for a bucket that does not answer, and the pause before
// the next attempt to write into it.
constexpr absl::Duration kBucketTimeout = absl::Seconds(2);
constexpr absl::Duration kBucketRetry = absl::Seconds(10);
// A server that acknowledges nothing for so long is lost.
constexpr absl::Duration kEventTimeout = absl::Seconds(10);
// Time for which another node under this name is reported after its last event.
constexpr absl::Duration kOtherReported = absl::Minutes(10);
constexpr absl::Duration kLeaveTimeout = absl::Milliseconds(500);

// Options that only this sink takes.
constexpr char kCluster[] = "--cluster";
constexpr char kCredentials[] = "--push-credentials";  // path of the file; empty: none
constexpr char kDomain[] = "--push-domain";  // domain of the JetStream; empty: the servers' own

// Publishes the events of one node into the fleet's stream, at least once and in order; and, after
// them, the last state of each VM and the node's heartbeat into the buckets. Each Open() makes a
// connection to the servers. One thread.
class FleetSink : public EventSink {
 public:
  // The pointers in `push` outlive the sink.
  explicit FleetSink(const PushRun& push)
      : push_(push), json_(push.command.format == PushFormat::kJson) {}

  // Finds the node's last event in the stream. If that is before the acknowledged position, moves
  // the cursor back; if events are missing in between, publishes a GAP.
  absl::Status Open() override {
    const PushCommand& command = push_.command;
    daemon_.emplace(push_.servers.first());
    v1::GetServerInfoResponse info;
    if (const auto failure = ReadInfo(*daemon_, &info)) {
      return absl::UnavailableError(failure->sentence);
    }
    const SinkOptions& options = command.follow.sink_options;
    node_ = {info.node(), OptionOf(options, kCluster), info.journal_id(), {}};
    auto connection =
        ConnectNats({.servers = push_.target.urls,
                     .name = absl::StrCat("vmevents push ", node_.name),
                     .credentials = OptionOf(options, kCredentials),
                     .tls = command.tls,
                     .domain = OptionOf(options, kDomain),
                     .inbox_prefix = absl::StrCat("_INBOX.vmeventd.",
                                                  NodeBucketKey(node_.cluster, node_.name))});
    if (!connection.ok()) return connection.status();
    connection_ = *std::move(connection);
    const absl::StatusOr<StreamState> stream = ReadStreamState(connection_.get(), kFleetStream);
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
    published_ = last_message_ = 0;
    heartbeat_.Clear();
    heartbeat_due_ = states_due_ = rewrite_at_ = absl::InfinitePast();
    return FindStart();
  }

  size_t together() const override { return kBatch; }

  // OK: the stream has stored the events. An event that it refuses permanently is replaced by a
  // GAP.
  absl::Status Consume(Formatter::Events events) override {
    if (absl::Status status = CheckStream(); !status.ok()) return status;
    for (const auto& [event, of, resume_after] : events) {
      if (of.name != node_.name) {
        return absl::UnavailableError(
            absl::StrCat("the node ", node_.name, " is named ", of.name, " now"));
      }
      if (std::exchange(node_.journal_id, of.journal_id) != of.journal_id) {
        published_ = 0;
        heartbeat_due_ = rewrite_at_ = absl::InfinitePast();
      }
      v1::Event stored = event;
      stored.set_durable(true);  // the stream stores it durably
      absl::Status status = Publish(FleetMessageOf(stored, node_, json_));
      if (absl::IsInvalidArgument(status)) {
        status = PublishGap(node_, event.sequence(), event.sequence(),
                            "the stream refuses it: too large");
      }
      if (!status.ok()) return status;
      published_ = std::max(published_, event.sequence());
      // An event without a VM, such as a GAP, may stand for a lost event of any VM.
      if (event.vm().name().empty()) rewrite_at_ = absl::InfinitePast();
    }
    if (std::exchange(was_behind_, false)) heartbeat_due_ = absl::InfinitePast();
    push_.log->Delivered(events);
    return absl::OkStatus();
  }

  // Writes the states and the heartbeat that are due into the buckets.
  absl::Status Tick() override {
    const absl::Time now = SteadyNow();
    if (now >= heartbeat_due_) {
      heartbeat_due_ = now + kHeartbeatInterval;
      const absl::Status status = WriteHeartbeat();
      NoteResult(kNodesBucket, status);
      was_behind_ = status.ok() && heartbeat_.newest_sequence() > heartbeat_.published_sequence();
      if (status.ok() && !was_behind_) push_.log->Recovered();
    }
    if (now >= states_due_ && (published_ > states_until_ || now >= rewrite_at_)) {
      const absl::Status status = WriteStates();
      NoteResult(kVmsBucket, status);
      if (!status.ok()) {
        states_due_ = SteadyNow() + kBucketRetry;
        rewrite_at_ = absl::InfinitePast();
      }
    }
    if (!connection_->closed()) return absl::OkStatus();
    const std::string complaint = connection_->complaint();
    return absl::UnavailableError(complaint.empty() ? "the connection is lost" : complaint);
  }

  // The last heartbeat, of a node that stops publishing. One that is lost makes the node silent
  // instead.
  void Leave() override {
    if (!heartbeat_.has_time()) return;
    *heartbeat_.mutable_time() = ToTimestamp(absl::Now());
    heartbeat_.clear_interval();
    heartbeat_.set_published_sequence(published_);
    (void)PutHeartbeat(kLeaveTimeout);
  }

 private:
  // Publishes that these events of the node are not in the stream.
  absl::Status PublishGap(const MessageNode& of, uint64_t first, uint64_t last,
                          const std::string& why) {
    v1::Event gap;
    gap.set_sequence(last);
    *gap.mutable_observe_time() = ToTimestamp(absl::Now());
    gap.set_type(v1::EVENT_TYPE_GAP);
    gap.set_gap_reason(v1::GAP_REASON_NOT_PUBLISHED);
    gap.set_durable(true);  // the stream stores it durably
    const std::string events = first == last
                                   ? absl::StrCat("the event ", first, " is")
                                   : absl::StrCat("the events ", first, " to ", last, " are");
    gap.set_message(absl::StrCat(events, " not in the fleet's stream: ", why));
    gap.mutable_missing()->set_first(first);
    gap.mutable_missing()->set_last(last);
    absl::Status status = Publish(FleetMessageOf(gap, of, json_));
    if (absl::IsInvalidArgument(status)) {
      return absl::UnavailableError(absl::StrCat(
          "the stream ", kFleetStream,
          " refuses even a GAP: its max_msg_size, or the server's max_payload, is too small"));
    }
    if (!status.ok()) return status;
    push_.log->Note(absl::StrCat("GAP: ", EscapeForTerminal(gap.message())));
    return absl::OkStatus();
  }

  absl::Status FindStart() {
    const absl::StatusOr<StoredMessage> last = ReadLastMessage(
        connection_.get(), kFleetStream, NodeSubjectPrefix(node_.cluster, node_.name) + ">");
    if (!last.ok() && !absl::IsNotFound(last.status())) return last.status();
    const std::string server = CursorKeys(push_.servers).front();
    const std::optional<WatchPosition> position = push_.cursor->Find(server);
    const bool published = position && position->sequence > 0;
    if (published && position->journal_id == node_.journal_id) FindOther(last);
    MessageNode of = node_;
    if (position) of.journal_id = position->journal_id;
    const std::optional<uint64_t> stored = last.ok() ? SequenceIn(last->message, of) : std::nullopt;
    const uint64_t acknowledged = position ? position->sequence : stored.value_or(0);
    // Events after the position were not acknowledged: they are sent again.
    const uint64_t begin = std::min(stored.value_or(acknowledged), acknowledged);
    if (position && begin < acknowledged) {
      push_.log->Note(absl::StrCat("the stream ", kFleetStream,
                                   " was restored or rolled back: it has the events up to ", begin,
                                   " of ", acknowledged, "; the rest is published again"));
    }
    if ((!position && begin > 0) || begin < acknowledged) {
      absl::Status saved = push_.cursor->Save(server, {begin, of.journal_id});
      if (!saved.ok()) return saved;
    }
    if (of.journal_id == node_.journal_id) published_ = begin;
    if (last.ok()) last_message_ = last->stream_sequence;
    // The stream's limit has deleted the events of a node that was quiet for so long.
    const absl::Time before = FromTimestamp(push_.log->state().last_success());
    const bool quiet = absl::Now() - before >= kStreamMaxAge;
    if (last.ok() || acknowledged == 0 || quiet) return absl::OkStatus();
    return PublishGap(of, 1, acknowledged,
                      "it was created again, was restored, or has deleted them");
  }

  // Notices another node that publishes under this name, by a message of another journal after one
  // of this node's present journal.
  void FindOther(const absl::StatusOr<StoredMessage>& last) {
    const std::string source = last.ok() ? last->message.header("ce-source") : "";
    const absl::Time now = SteadyNow();
    if (!source.empty() && source != SourceOf(node_)) {
      other_ = source.substr(source.rfind('/') + 1);
      other_seen_ = now;
    }
    if (now - other_seen_ >= kOtherReported) other_.clear();
    push_.log->Warn(
        other_.empty() ? ""
                       : EscapeForTerminal(absl::StrCat(
                             "another node publishes as ", node_.full_name(), ", with the journal ",
                             other_, ": give one of them another name with vmeventd's --node")));
  }

  // Checks that the stream still has the node's last message, unless its limits have deleted it. If
  // the stream was wiped or restored, another message may have its sequence; the connection does
  // not show that.
  absl::Status CheckStream() {
    if (last_message_ == 0) return absl::OkStatus();
    const auto stored = ReadMessage(connection_.get(), kFleetStream, last_message_);
    if (!stored.ok() && !absl::IsNotFound(stored.status())) return stored.status();
    const std::string own = NodeSubjectPrefix(node_.cluster, node_.name);
    if (stored.ok() && absl::StartsWith(stored->message.subject, own)) return absl::OkStatus();
    const auto state = ReadStreamState(connection_.get(), kFleetStream);
    if (!state.ok()) return state.status();
    if (!stored.ok() && state->first > last_message_) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat("the stream ", kFleetStream, " has lost the node's last message"));
  }

  // Publishes an event. OK: the stream has stored it. INVALID_ARGUMENT: the stream never takes it.
  // CANCELLED: a stop. After other errors it may be stored.
  absl::Status Publish(const absl::StatusOr<NatsMessage>& message) {
    if (!message.ok()) return message.status();
    if (push_.stop->stopped()) return absl::CancelledError("stopped");
    const auto stored = Store(connection_.get(), kFleetStream, *message, kEventTimeout);
    if (stored.ok()) last_message_ = *stored;
    return stored.status();
  }

  // Writes a value into a bucket. A value that is too large is left out, because another attempt
  // would fail too.
  absl::Status Put(absl::string_view bucket, const absl::StatusOr<NatsMessage>& message,
                   absl::Duration timeout = kBucketTimeout) {
    if (!message.ok()) return message.status();
    absl::Status status =
        Store(connection_.get(), BucketStream(bucket), *message, timeout).status();
    return absl::IsInvalidArgument(status) ? absl::OkStatus() : status;
  }

  absl::Status WriteHeartbeat() {
    v1::GetServerInfoResponse info;
    // A node whose VMs nobody observes falls silent.
    if (const auto failure = ReadInfo(*daemon_, &info)) {
      return absl::UnavailableError(failure->sentence);
    }
    if (published_ > 0) {
      FindOther(ReadLastMessage(connection_.get(), kFleetStream,
                                NodeSubjectPrefix(node_.cluster, node_.name) + ">"));
    }
    const bool known = info.journal_id() == node_.journal_id;
    heartbeat_.set_cluster(node_.cluster);
    heartbeat_.set_node(node_.name);
    heartbeat_.set_version(info.version());
    heartbeat_.set_journal_id(node_.journal_id);
    heartbeat_.set_newest_sequence(known ? info.newest_sequence() : published_);
    heartbeat_.set_published_sequence(published_);
    heartbeat_.set_vms(static_cast<uint64_t>(info.vms()));
    heartbeat_.set_other_journal_id(other_);
    *heartbeat_.mutable_time() = ToTimestamp(absl::Now());
    *heartbeat_.mutable_interval() = ToProtoDuration(kHeartbeatInterval);
    const PushState& state = push_.log->state();
    if (state.has_observed_until()) {
      *heartbeat_.mutable_newest_event_time() = state.observed_until();
    }
    return PutHeartbeat(kBucketTimeout);
  }

  absl::Status PutHeartbeat(absl::Duration timeout) {
    const std::string key = KeySubject(kNodesBucket, NodeBucketKey(node_.cluster, node_.name));
    return Put(kNodesBucket, FleetMessage(key, heartbeat_, node_, json_), timeout);
  }

  // Writes the states that changed since the last time, or all. Of several runs with one name the
  // one that runs counts, or else the one with the newest event.
  absl::Status WriteStates() {
    const absl::Time begin = SteadyNow();
    if (begin >= rewrite_at_) {
      states_until_ = 0;
      rewrite_at_ = begin + kRewrite;
    }
    NodeVms vms;
    if (const auto failure = DaemonLists(*daemon_).ReadVms({}, /*stopped_too=*/true, &vms)) {
      return absl::UnavailableError(failure->sentence);
    }
    const absl::Duration asked = SteadyNow() - begin;
    // A state is written only after its newest event was published. If the journal was replaced
    // since, none of its events was.
    std::erase_if(vms, [&](const NodeVm& one) {
      return one.vm.last_sequence() > (one.node.journal_id == node_.journal_id ? published_ : 0);
    });
    const auto rank = [](const NodeVm& one) {
      return std::pair(one.vm.state() != v1::VM_STATE_STOPPED, one.vm.last_sequence());
    };
    absl::c_sort(vms, [&](const NodeVm& a, const NodeVm& b) { return rank(a) < rank(b); });
    std::map<std::string, std::pair<const NodeVm*, uint64_t>> newest;  // its newest event
    for (const NodeVm& one : vms) {
      auto& [run, sequence] = newest[one.vm.ref().name()];
      run = &one;
      sequence = std::max(sequence, one.vm.last_sequence());
    }
    bool answered = false;  // the first write waits for the bucket's answer; the others do not
    for (const auto& [name, of_name] : newest) {
      const auto& [one, sequence] = of_name;
      // If it is 0, all states are written.
      if (states_until_ > 0 && sequence <= states_until_) continue;
      MessageNode of = node_;
      of.journal_id = one->node.journal_id;
      const std::string key = KeySubject(kVmsBucket, VmBucketKey(of.cluster, of.name, name));
      const auto value = FleetMessage(key, one->vm, of, json_);
      absl::Status sent = !std::exchange(answered, true) || !value.ok()
                              ? Put(kVmsBucket, value)
                              : connection_->Publish(*value);
      if (!sent.ok() && !absl::IsInvalidArgument(sent)) return sent;
    }
    states_until_ = published_;
    states_due_ = SteadyNow() + std::max(kStatesInterval, kStatesShare * asked);
    return absl::OkStatus();
  }

  // Reports why a bucket is not written, until it is.
  void NoteResult(absl::string_view bucket, const absl::Status& status) {
    const std::string reason = EscapeForTerminal(status.message());
    if (std::exchange(reported_[std::string(bucket)], reason) == reason || status.ok()) return;
    push_.log->Note(absl::StrCat("cannot write into the bucket ", bucket, ": ", reason));
  }

  const PushRun& push_;
  const bool json_;                              // payloads are JSON
  std::string unsafe_;                           // what was reported about the stream's settings
  std::map<std::string, std::string> reported_;  // what was reported about each bucket
  std::optional<DaemonNode> daemon_;             // asked for its VMs
  std::unique_ptr<NatsConnection> connection_;
  MessageNode node_;  // with its cluster and its journal
  uint64_t published_ = 0;
  uint64_t last_message_ = 0;    // the node's last message in the stream; 0: it has none
  uint64_t states_until_ = 0;    // the bucket has the states up to this event; 0: none
  v1::NodeHeartbeat heartbeat_;  // the last one that was sent; empty: there was none
  std::string other_;            // the journal of another node of this name; empty: there is none
  absl::Time other_seen_ = absl::InfinitePast();  // steady clock
  bool was_behind_ = false;                       // it counts events that waited to be published
  // Deadlines on the steady clock: the next heartbeat, the next write of changed states, and the
  // next write of all states, which restores what the bucket lost.
  absl::Time heartbeat_due_ = absl::InfinitePast();
  absl::Time states_due_ = absl::InfinitePast();
  absl::Time rewrite_at_ = absl::InfinitePast();
};

absl::StatusOr<PushTarget> ParseNatsTarget(absl::string_view url, bool insecure) {
  const auto servers = ParseNatsServers(url);
  if (!servers.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("URL: ", servers.status().message()));
  }
  PushTarget target;
  for (const ServerAddress& server : *servers) {
    target.urls.push_back(NatsUrl(server));
    if (server.tls || IsLoopback(server.host) || insecure) continue;
    return PlainTextError(NatsUrl(server), "tls://");
  }
  target.shown = absl::StrJoin(target.urls, ",");
  target.key = TargetKey(servers->front().host, target.shown);
  return target;
}

void AddNatsOptions(CLI::App* app, SinkOptions* options) {
  const auto check = [](absl::string_view name) {
    constexpr size_t kMaxCluster = 64;
    return name.size() <= kMaxCluster ? absl::OkStatus()
                                      : absl::InvalidArgumentError("has more than 64 bytes");
  };
  CLI::Option* cluster =
      AddChecked(app, kCluster, "NAME", "for nats://: the name of this node's cluster", check,
                 &(*options)[kCluster]);
  AddFile(app, kCredentials, "for nats://: log in with this credentials file (NATS's .creds)",
          &(*options)[kCredentials])
      ->needs(cluster);
  AddChecked(
      app, kDomain, "NAME",
      "for nats://: the JetStream domain of the fleet's stream, if the NATS servers are leaf nodes",
      CheckDomain, &(*options)[kDomain])
      ->needs(cluster);
}

absl::Status CheckNatsTarget(const PushCommand& command, const PushTarget& target) {
  if (!OptionOf(command.follow.sink_options, kCluster).empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("push: ", target.shown, " needs --cluster NAME, the cluster of this node"));
}

absl::Status CheckNatsFiles(const PushCommand& command) {
  return CheckReadable(kCredentials, OptionOf(command.follow.sink_options, kCredentials));
}

absl::StatusOr<std::unique_ptr<EventSink>> MakeNatsSink(const PushRun& push) {
  return std::make_unique<FleetSink>(push);
}

constexpr char kNatsHelp[] =
    R"(nats://HOST:PORT, or tls:// with TLS, is a NATS server of a fleet: push
publishes the events of this node in the fleet's stream, by default from the
oldest on, together with the state of each VM and a heartbeat
(docs/many-nodes.md).)";

}  // namespace

extern const PushSinkKind kNatsSink = {.what = "a NATS server",
                                       .url = "nats:// into a fleet",
                                       .example = "nats://HOST",
                                       .help = kNatsHelp,
                                       .scheme = "tls://",
                                       .plain_scheme = "nats://",
                                       .flag = kCluster,
                                       .of_one_node = true,
                                       .parse = ParseNatsTarget,
                                       .options = AddNatsOptions,
                                       .check = CheckNatsTarget,
                                       .check_files = CheckNatsFiles,
                                       .make = MakeNatsSink,
                                       .longest_pause = absl::Minutes(1)};

}  // namespace vmeventd::client
