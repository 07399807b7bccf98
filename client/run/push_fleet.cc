#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "client/run/run.h"
#include "vmeventd/v1/fleet.pb.h"

namespace vmeventd::client {
namespace {

// Events between two looks at the stream; each waits for the acknowledgement of the one before it.
constexpr size_t kBatch = 64;
// Interval of heartbeats: a node is silent after three.
constexpr absl::Duration kHeartbeatInterval = absl::Seconds(30);
// Interval in which all states are written again.
constexpr absl::Duration kRewrite = absl::Minutes(10);
// Shortest interval in which states are asked for and written, and the least in terms of the time
// that this takes.
constexpr absl::Duration kStatesInterval = absl::Seconds(1);
constexpr int kStatesShare = 50;
// Pause before a bucket that refused something is written again.
constexpr absl::Duration kBucketRetry = absl::Seconds(30);
// A server that acknowledges nothing for so long is lost.
constexpr absl::Duration kEventTimeout = absl::Seconds(15);
constexpr absl::Duration kLeaveTimeout = absl::Milliseconds(500);
// Longest time until a stop or a complaint of the server is noticed.
constexpr absl::Duration kSlice = absl::Milliseconds(100);
constexpr absl::string_view kBuckets[] = {kNodesBucket, kVmsBucket};
// Limit of unread answers: of the states of all VMs.
constexpr size_t kMaxAnswers = 65'536;

// Events that the heartbeat counts wait to be published; also before the first.
bool IsBehind(const v1::NodeHeartbeat& heartbeat) {
  return !heartbeat.has_time() || heartbeat.newest_sequence() > heartbeat.published_sequence();
}

// Publishes the events of one node into the fleet's stream over one connection, at least once and
// in order; and, behind them, the last state of each VM and the node's heartbeat into the buckets,
// for which no event waits. One thread.
class FleetSession : public EventConsumer {
 public:
  // Finds what the stream has of the node, and moves the cursor where that is less than was
  // acknowledged, of which the stream gets a GAP if it has none. `daemon`, which is asked for its
  // VMs, and what `push` points to outlive the session.
  static absl::StatusOr<std::unique_ptr<FleetSession>> Open(const PushRun& push,
                                                            NatsConnection* connection,
                                                            const CommandContext& daemon,
                                                            MessageNode node) {
    auto session = absl::WrapUnique(new FleetSession(push, connection, daemon, std::move(node)));
    auto answers = connection->Subscribe(absl::StrCat(session->inbox_, ".*"), kMaxAnswers);
    if (!answers.ok()) return answers.status();
    session->answers_ = *std::move(answers);
    if (absl::Status status = session->FindStart(); !status.ok()) return status;
    return session;
  }

  // OK: the stream has them. What it refuses for good is a GAP.
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
      stored.set_durable(true);  // the stream is; a GAP that no journal has is not
      absl::Status status = Publish(FleetMessageOf(stored, node_, json_));
      if (absl::IsInvalidArgument(status)) {
        status = PublishGap(node_, event.sequence(), event.sequence(),
                            "the stream refuses it: too large");
      }
      if (!status.ok()) return status;
      published_ = std::max(published_, event.sequence());
      // An event of no VM, such as a GAP, may stand for any of them.
      if (event.vm().name().empty()) rewrite_at_ = absl::InfinitePast();
    }
    if (IsBehind(heartbeat_)) heartbeat_due_ = absl::InfinitePast();
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

  // Writes what is due into the buckets. False: the connection is lost.
  bool Tick() {
    if (!ReadAnswers()) return false;
    const absl::Time now = SteadyNow();
    if (now >= heartbeat_due_) {
      heartbeat_due_ = now + kHeartbeatInterval;
      const absl::Status status = WriteHeartbeat();
      NoteFailure(kNodesBucket, status);
      if (status.ok() && !IsBehind(heartbeat_)) push_.log->Recovered();
    }
    if (now >= states_due_ && (published_ > states_until_ || now >= rewrite_at_)) {
      NoteFailure(kVmsBucket, WriteStates());
    }
    return !connection_->closed();
  }

  // The last heartbeat, of a node that stops publishing.
  void Leave() {
    if (!heartbeat_.has_time() || connection_->closed()) return;
    *heartbeat_.mutable_time() = ToProto(absl::Now());
    heartbeat_.clear_interval();
    heartbeat_.set_published_sequence(published_);
    // A heartbeat that is lost makes the node silent instead.
    if (SendHeartbeat().ok()) (void)answers_->Next(kLeaveTimeout);
  }

 private:
  FleetSession(const PushRun& push, NatsConnection* connection, const CommandContext& daemon,
               MessageNode node)
      : push_(push),
        connection_(connection),
        daemon_(daemon),
        json_(push.command.format == PushFormat::kJson),
        node_(std::move(node)) {}

  absl::Status FindStart() {
    const absl::StatusOr<StoredMessage> last = ReadLastMessage(
        connection_, kFleetStream, NodeSubjectPrefix(node_.cluster, node_.name) + ">");
    if (!last.ok() && !absl::IsNotFound(last.status())) return last.status();
    const std::string server = CursorKeys(push_.line).front();
    const std::optional<WatchPosition> position = push_.cursor->Find(server);
    MessageNode of = node_;
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
      absl::Status saved = push_.cursor->Save(server, {begin, of.journal_id});
      if (!saved.ok()) return saved;
    }
    if (of.journal_id == node_.journal_id) published_ = begin;
    if (last.ok()) last_message_ = last->stream_sequence;
    // Its limit has deleted the events of a node that was quiet for so long.
    const absl::Time before = FromProto(push_.log->state().last_success());
    const bool quiet = absl::Now() - before >= kStreamMaxAge;
    if (last.ok() || acknowledged == 0 || quiet) return absl::OkStatus();
    return PublishGap(of, 1, acknowledged,
                      "it was created again, was restored, or has deleted them");
  }

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

  // Publishes an event. OK: the stream has stored it. INVALID_ARGUMENT: the stream never takes it.
  // CANCELLED: a stop. After this and other errors it may be stored.
  absl::Status Publish(absl::StatusOr<NatsMessage> message) {
    if (!message.ok()) return message.status();
    // A server that has lost its lead may answer a second time: each event has its own subject.
    message->reply = absl::StrCat(inbox_, ".", ++requests_);
    if (absl::Status status = connection_->Publish(*message); !status.ok()) return status;
    std::string complaint;
    for (const absl::Time begin = SteadyNow(); SteadyNow() < begin + kEventTimeout;) {
      if (push_.stop->stopped()) return absl::CancelledError("stopped");
      const absl::StatusOr<std::optional<NatsMessage>> answer = answers_->Next(kSlice);
      if (!answer.ok()) return answer.status();
      if (answer->has_value() && (*answer)->subject == message->reply) {
        const absl::StatusOr<uint64_t> stored = ParseAck(**answer, kFleetStream);
        if (stored.ok()) last_message_ = *stored;
        return stored.status();
      }
      if (answer->has_value()) TakeAnswer(**answer);
      // The server answers nothing to what is not permitted, but complains at once.
      complaint = connection_->complaint();
      if (absl::StrContains(complaint, message->subject)) break;
    }
    return absl::UnavailableError(
        absl::StrCat("no acknowledgement came from the stream ", kFleetStream,
                     complaint.empty() ? "" : "; the server reports: ", complaint));
  }

  // Sends a value into a bucket. Its answer, for which nothing waits, is read later.
  absl::Status Send(absl::string_view bucket, absl::StatusOr<NatsMessage> message) {
    if (!message.ok()) return message.status();
    message->reply = absl::StrCat(inbox_, ".", bucket);
    return connection_->Publish(*message);
  }

  // Takes the answer to a value of a bucket.
  void TakeAnswer(const NatsMessage& answer) {
    for (const absl::string_view bucket : kBuckets) {
      if (answer.subject != absl::StrCat(inbox_, ".", bucket)) continue;
      const absl::Status status = ParseAck(answer, BucketStream(bucket)).status();
      // A value that is too large always will be.
      if (!absl::IsInvalidArgument(status)) NoteFailure(bucket, status);
    }
  }

  // Takes the answers that have come. False: the connection is lost.
  bool ReadAnswers() {
    absl::StatusOr<std::optional<NatsMessage>> answer;
    while ((answer = answers_->Next(absl::ZeroDuration())).ok() && answer->has_value()) {
      TakeAnswer(**answer);
    }
    // The server answers nothing to what is not permitted, but complains.
    std::string complaint = connection_->complaint();
    for (const absl::string_view bucket : kBuckets) {
      if (complaint == complaint_ || !absl::StrContains(complaint, bucket)) continue;
      NoteFailure(bucket, absl::UnavailableError("the server reports: " + complaint));
    }
    complaint_ = std::move(complaint);
    return answer.ok();
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
    const PushState& state = push_.log->state();
    if (state.has_observed_until()) {
      *heartbeat_.mutable_newest_event_time() = state.observed_until();
    }
    return SendHeartbeat();
  }

  absl::Status SendHeartbeat() {
    return Send(kNodesBucket,
                FleetMessage(KeySubject(kNodesBucket, NodeBucketKey(node_.cluster, node_.name)),
                             heartbeat_, node_, json_));
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
    if (const auto failure = DaemonLists(daemon_).ReadVms({}, /*stopped_too=*/true, &vms)) {
      return absl::UnavailableError(failure->sentence);
    }
    // The state is written once its newest event, which is on its way, was published: of a journal
    // that has replaced the present one, none was.
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
    for (const auto& [name, of_name] : newest) {
      const auto& [one, sequence] = of_name;
      // 0: all.
      if (states_until_ > 0 && sequence <= states_until_) continue;
      MessageNode of = node_;
      of.journal_id = one->node.journal_id;
      const std::string key = KeySubject(kVmsBucket, VmBucketKey(of.cluster, of.name, name));
      absl::Status sent = Send(kVmsBucket, FleetMessage(key, one->vm, of, json_));
      // One that is too large is left out: the others do not wait for it.
      if (!sent.ok() && !absl::IsInvalidArgument(sent)) return sent;
    }
    states_until_ = published_;
    states_due_ = SteadyNow() + std::max(kStatesInterval, kStatesShare * (SteadyNow() - begin));
    return absl::OkStatus();
  }

  // Reports why a bucket is not written, each reason once on a connection. All states are written
  // again after a pause.
  void NoteFailure(absl::string_view bucket, const absl::Status& status) {
    if (status.ok()) return;
    if (bucket == kVmsBucket) {
      states_due_ = SteadyNow() + kBucketRetry;
      rewrite_at_ = absl::InfinitePast();
    }
    const std::string reason = absl::StrCat(bucket, ": ", EscapeForTerminal(status.message()));
    if (!noted_.insert(reason).second) return;
    push_.log->Note(absl::StrCat("cannot write into the bucket ", reason));
  }

  const PushRun& push_;
  NatsConnection* const connection_;
  const CommandContext& daemon_;
  const bool json_;  // payloads
  // Answers come to INBOX.NUMBER of an event, and to INBOX.BUCKET of a value.
  const std::string inbox_ = connection_->NewInbox();
  std::unique_ptr<NatsSubscription> answers_;
  uint64_t requests_ = 0;        // events that were sent
  std::string complaint_;        // the server's last
  std::set<std::string> noted_;  // reasons
  MessageNode node_;             // with its cluster and its journal
  uint64_t published_ = 0;
  uint64_t last_message_ = 0;    // the node's last of the stream; 0: it has none
  uint64_t states_until_ = 0;    // the bucket has the states up to this event; 0: none
  v1::NodeHeartbeat heartbeat_;  // the last; empty: there was none
  // When to write next; and when to write all states, so that what the bucket lost comes back.
  // Steady.
  absl::Time heartbeat_due_ = absl::InfinitePast();
  absl::Time states_due_ = absl::InfinitePast();
  absl::Time rewrite_at_ = absl::InfinitePast();
};

// Publishes the node until a stop. Each attempt has a connection to the servers and a stream of the
// daemon that begins behind the cursor; after any doubt another one begins.
class FleetPush {
 public:
  explicit FleetPush(const PushRun& push) : push_(push) {}

  ExitCode Run() {
    while (true) {
      const std::string reason = EscapeForTerminal(RunOnce().message());
      if (code_) return *code_;
      if (push_.stop->stopped()) return ExitCode::kOk;
      push_.log->Failed(reason);
      if (push_.log->Retry(reason, {})) return ExitCode::kOk;
    }
  }

 private:
  // One attempt; why it ended. `code_` is set where no other one would help.
  absl::Status RunOnce() {
    const CommandContext daemon(push_.line.server());
    v1::GetServerInfoResponse info;
    if (const auto failure = ReadInfo(daemon, &info)) {
      return absl::UnavailableError(failure->sentence);
    }
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
    const absl::StatusOr<StreamState> stream = ReadStreamState(connection->get(), kFleetStream);
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
    const auto session = FleetSession::Open(push_, connection->get(), daemon, node);
    if (!session.ok()) return session.status();
    const std::unique_ptr<Source> source = SourceOf(push_);
    if (!std::exchange(announced_, true)) push_.announce();
    Delivery delivery(
        {.consumer = session->get(), .cursor = push_.cursor, .servers = CursorKeys(push_.line)});
    const ExitCode code = DeliverBatches(source.get(), {.events = kBatch}, &delivery, [&] {
      push_.log->Loss(source->loss());
      return (*session)->Tick();
    });
    // One whose daemon was lost stays silent.
    if (push_.stop->stopped() && source->loss().empty()) (*session)->Leave();
    if (!delivery.status().ok()) return delivery.status();
    if (code != ExitCode::kOk) code_ = code;
    const std::string complaint = (*connection)->complaint();
    return absl::UnavailableError(complaint.empty() ? "the connection is lost" : complaint);
  }

  const PushRun& push_;
  std::string unsafe_;  // what was noted of the stream's settings
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
