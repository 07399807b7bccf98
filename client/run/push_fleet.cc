#include "client/run/push_fleet.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "client/connect/connection.h"
#include "client/consume/delivery.h"
#include "client/fleet/fleet.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream.h"
#include "client/nats/subject.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "client/push/request.h"
#include "client/run/run.h"
#include "vmeventd/v1/fleet.pb.h"

namespace vmeventd::client {
namespace {

constexpr absl::Duration kFirstPause = absl::Seconds(1);
constexpr absl::Duration kLongestPause = absl::Minutes(1);
// Nodes that come back together share the servers: each has one small batch under way.
constexpr size_t kBatch = 256;
constexpr absl::Duration kInfoTimeout = absl::Seconds(5);
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
constexpr absl::Duration kDaemonTimeout = absl::Seconds(5);
constexpr absl::Duration kSearchTimeout = absl::Minutes(1);
constexpr size_t kMaxOfWrite = 256;
constexpr int kMaxNames = 32;  // of a question about VMs; each may read as a pattern

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

// Publishes the events of one node into the fleet's stream over one connection, at least once and
// in order; and, behind them, the last state of each VM and the node's heartbeat into the buckets,
// whose failures delay no event. One thread.
class FleetSession : public EventConsumer {
 public:
  // `node` has its cluster and its journal, of which the stream has everything up to `published`.
  // The pointers outlive it; `daemon` is asked for its VMs.
  FleetSession(NatsConnection* connection, v1::VmEventService::StubInterface* daemon,
               MessageNode node, bool json, uint64_t published, PushLog* log,
               std::unique_ptr<StreamWriter> writer)
      : connection_(connection),
        daemon_(daemon),
        json_(json),
        log_(log),
        writer_(std::move(writer)),
        node_(std::move(node)),
        published_(published) {}

  // OK: the stream has them. What it refuses for good is a GAP.
  absl::Status Consume(Formatter::Events events) override;
  // Publishes that these events of the node are not in the stream.
  absl::Status PublishGap(const MessageNode& of, uint64_t first, uint64_t last,
                          const std::string& why);
  // Writes what is due into the buckets. False: the connection is lost.
  bool Tick();
  // The last heartbeat, of a node that stops publishing. Does not wait for an acknowledgement.
  void Leave();

 private:
  absl::Status WriteHeartbeat();
  // Writes the states of the VMs with events since the last time, or of all. Of several runs with
  // one name the one that runs counts, or else the one with the newest event.
  absl::Status WriteStates();
  absl::Status WriteBucket(absl::string_view bucket, const std::vector<NatsMessage>& messages);
  // Reports the failure once, until the bucket takes something again.
  void NoteBucket(const char* what, const absl::Status& status, std::string* noted);
  absl::StatusOr<NatsMessage> HeartbeatMessage(bool stopped);

  NatsConnection* const connection_;
  v1::VmEventService::StubInterface* const daemon_;
  const bool json_;  // payloads
  PushLog* const log_;
  const std::unique_ptr<StreamWriter> writer_;
  MessageNode node_;
  uint64_t published_;
  std::set<std::string> changed_;                   // VMs whose states are to be written
  bool behind_ = true;                              // the last heartbeat reports waiting events
  absl::Time heartbeat_at_ = absl::InfinitePast();  // when it is due; steady, as the next two
  absl::Time rewrite_at_ = absl::InfinitePast();
  absl::Time states_at_ = absl::InfinitePast();  // the bucket of VMs is not tried before
  std::string noted_heartbeat_;
  std::string noted_states_;
};

absl::Status FleetSession::Consume(Formatter::Events events) {
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
  if (behind_) heartbeat_at_ = absl::InfinitePast();
  log_->Delivered(events);
  return absl::OkStatus();
}

absl::Status FleetSession::PublishGap(const MessageNode& of, uint64_t first, uint64_t last,
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

bool FleetSession::Tick() {
  const absl::Time now = SteadyNow();
  if (now >= heartbeat_at_) {
    const absl::Status status = WriteHeartbeat();
    heartbeat_at_ = now + (status.ok() ? kHeartbeat : absl::ZeroDuration());
    NoteBucket("the node's heartbeat", status, &noted_heartbeat_);
    if (status.ok() && !behind_) log_->Recovered();
  }
  if (now >= states_at_ && (!changed_.empty() || now >= rewrite_at_)) {
    const absl::Status status = WriteStates();
    states_at_ = now + (status.ok() ? kStatesInterval : kBucketRetry);
    NoteBucket("the VMs' last states", status, &noted_states_);
  }
  return !connection_->closed();
}

void FleetSession::NoteBucket(const char* what, const absl::Status& status, std::string* noted) {
  const std::string reason(status.message());
  if (!status.ok() && !absl::IsCancelled(status) && reason != *noted) {
    log_->Note(absl::StrCat("cannot write ", what, ": ", EscapeForTerminal(reason),
                            "; this delays no event"));
  }
  *noted = reason;
}

absl::Status FleetSession::WriteBucket(absl::string_view bucket,
                                       const std::vector<NatsMessage>& messages) {
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

absl::StatusOr<NatsMessage> FleetSession::HeartbeatMessage(bool stopped) {
  grpc::ClientContext call;
  SetRequestDeadline(&call, kDaemonTimeout);
  v1::GetServerInfoResponse info;
  const grpc::Status asked = daemon_->GetServerInfo(&call, {}, &info);
  // Nobody observes its VMs: the node falls silent.
  if (!asked.ok() && !stopped) {
    return absl::UnavailableError(
        absl::StrCat("vmeventd does not answer: ", asked.error_message()));
  }
  const bool known = asked.ok() && info.journal_id() == node_.journal_id;
  v1::NodeHeartbeat heartbeat;
  heartbeat.set_cluster(node_.cluster);
  heartbeat.set_node(node_.name);
  heartbeat.set_version(info.version());
  heartbeat.set_journal_id(node_.journal_id);
  heartbeat.set_newest_sequence(known ? info.newest_sequence() : published_);
  heartbeat.set_published_sequence(published_);
  heartbeat.set_vms(static_cast<uint64_t>(info.vms()));
  *heartbeat.mutable_time() = ToProto(absl::Now());
  if (!stopped) *heartbeat.mutable_interval() = ToProto(kHeartbeat);
  const absl::Time newest = log_->state().observed_until;
  if (newest > absl::UnixEpoch()) *heartbeat.mutable_newest_event_time() = ToProto(newest);
  behind_ = heartbeat.newest_sequence() > heartbeat.published_sequence();
  return FleetMessage(KeySubject(kNodesBucket, NodeBucketKey(node_.cluster, node_.name)), heartbeat,
                      node_, json_);
}

absl::Status FleetSession::WriteHeartbeat() {
  const absl::StatusOr<NatsMessage> message = HeartbeatMessage(/*stopped=*/false);
  return message.ok() ? WriteBucket(kNodesBucket, {*message}) : message.status();
}

void FleetSession::Leave() {
  const absl::StatusOr<NatsMessage> message = HeartbeatMessage(/*stopped=*/true);
  if (!message.ok() || connection_->closed()) return;
  // A heartbeat that is lost makes the node silent instead.
  (void)connection_->Publish(*message);
  (void)connection_->Flush(kLeaveTimeout);
}

absl::Status FleetSession::WriteStates() {
  const bool all = SteadyNow() >= rewrite_at_;
  v1::ListVmsRequest request;
  request.set_include_stopped(true);
  constexpr int kPage = 1000;
  request.set_page_size(kPage);
  // A node may have thousands of VMs, of which few change in an interval.
  if (!all && changed_.size() <= kMaxNames) {
    request.mutable_vm_names()->Add(changed_.begin(), changed_.end());
  }
  std::map<std::string, v1::Vm> newest;
  do {
    grpc::ClientContext call;
    SetRequestDeadline(&call, kDaemonTimeout);
    v1::ListVmsResponse page;
    const grpc::Status status = daemon_->ListVms(&call, request, &page);
    if (!status.ok()) {
      return absl::UnavailableError(
          absl::StrCat("vmeventd does not list them: ", status.error_message()));
    }
    if (page.journal_id() != node_.journal_id) return absl::OkStatus();
    for (v1::Vm& vm : *page.mutable_vms()) {
      // The state is written once its newest event, which is on its way, was published.
      if (vm.last_sequence() > published_) continue;
      v1::Vm& known = newest[vm.ref().name()];
      if (!known.has_ref() || IsNewer(vm, known)) known = std::move(vm);
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  std::vector<NatsMessage> messages;
  for (const auto& [name, vm] : newest) {
    if (!all && changed_.count(name) == 0) continue;
    absl::StatusOr<NatsMessage> message = FleetMessage(
        KeySubject(kVmsBucket, VmBucketKey(node_.cluster, node_.name, name)), vm, node_, json_);
    if (!message.ok()) return message.status();
    messages.push_back(*std::move(message));
  }
  if (absl::Status status = WriteBucket(kVmsBucket, messages); !status.ok()) return status;
  changed_.clear();
  if (all) rewrite_at_ = SteadyNow() + kRewrite;
  return absl::OkStatus();
}

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

  ExitCode Run();

 private:
  // One attempt; why it ended. `code_` is set where no other one would help.
  absl::Status RunOnce();
  // Finds what the stream has of the node, and moves the cursor where that is less than was
  // acknowledged. Returns what the stream has everything up to.
  absl::StatusOr<uint64_t> FindStart(NatsConnection* connection);
  absl::Status Follow(FleetSession* session, const NatsConnection& connection);

  const PushCommand& command_;
  const CommandLine& line_;
  const PushTarget& target_;
  CursorFile* const cursor_;
  PushLog* const log_;
  StopSource* const stop_;
  const std::function<void()>& announce_;
  const std::string server_;  // key in the cursor
  MessageNode node_;
  std::string stream_;      // when it was created
  std::string gap_;         // why it lacks the events up to the position; empty: it has them
  std::string unsafe_;      // what was noted of the stream's settings
  uint64_t published_ = 0;  // the stream has everything of the node's journal up to here
  bool announced_ = false;
  std::optional<ExitCode> code_;
};

ExitCode FleetPush::Run() {
  Backoff backoff(kFirstPause, kLongestPause);
  while (!stop_->stopped()) {
    const uint64_t before = log_->state().requests;
    const absl::Status status = RunOnce();
    if (code_) return *code_;
    if (stop_->stopped()) break;
    const std::string why = EscapeForTerminal(status.message());
    log_->Failed(why);
    log_->Waits(why, {});
    if (log_->state().requests > before) backoff.Reset();
    if (stop_->WaitFor(backoff.Next(RandomFraction()))) break;
  }
  return ExitCode::kOk;
}

absl::Status FleetPush::RunOnce() {
  const ServerAddress& server = line_.server();
  const absl::StatusOr<PinnedChannel> connected = ConnectToOne(server, ResolveHost);
  if (!connected.ok()) {
    return absl::UnavailableError(ExplainNoChannel(server, connected.status()).sentence);
  }
  const auto stub = v1::VmEventService::NewStub(connected->channel);
  grpc::ClientContext call;
  SetRequestDeadline(&call, kInfoTimeout);
  v1::GetServerInfoResponse info;
  if (const grpc::Status asked = stub->GetServerInfo(&call, {}, &info); !asked.ok()) {
    return absl::UnavailableError(ExplainFailure(connected->address, asked).sentence);
  }
  node_ = {info.node(), command_.cluster, info.journal_id(), {}};
  const auto connection =
      ConnectorTo({target_.nats, command_.credentials, command_.domain, command_.tls},
                  absl::StrCat("vmevents push ", node_.name),
                  absl::StrCat("_INBOX.vmeventd.", NodeBucketKey(node_.cluster, node_.name)))();
  if (!connection.ok()) return connection.status();
  const absl::StatusOr<uint64_t> published = FindStart(connection->get());
  if (!published.ok()) return published.status();
  auto writer = StreamWriter::Open(connection->get(), stop_->token());
  if (!writer.ok()) return writer.status();
  FleetSession session(connection->get(), stub.get(), node_, command_.format == PushFormat::kJson,
                       published_, log_, *std::move(writer));
  if (!gap_.empty()) {
    MessageNode of = node_;
    of.journal_id = cursor_->Find(server_)->journal_id;
    absl::Status status = session.PublishGap(of, 1, *published, gap_);
    if (!status.ok()) return status;
  }
  log_->SetStream(stream_);
  if (!std::exchange(announced_, true)) announce_();
  absl::Status status = Follow(&session, **connection);
  if (stop_->stopped()) session.Leave();
  return status;
}

absl::StatusOr<uint64_t> FleetPush::FindStart(NatsConnection* connection) {
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
  const auto last =
      ReadMessage(connection, kFleetStream,
                  LastMessageRequest(NodeSubjects(node_.cluster, node_.name)), kSearchTimeout);
  if (!last.ok() && !absl::IsNotFound(last.status())) return last.status();
  const std::optional<WatchPosition> position = cursor_->Find(server_);
  MessageNode of = node_;
  if (position) of.journal_id = position->journal_id;
  std::optional<uint64_t> stored = last.ok() ? SequenceIn(last->message, of) : std::nullopt;
  const bool other = log_->state().stream != stream->created && !log_->state().stream.empty();
  // Limits delete the oldest messages first: with older ones there, those of the node are missing
  // for another reason.
  const bool has_older =
      stream->first == 1 || stream->first_time + kMaxSkew < log_->state().last_success;
  if (position && !other && absl::IsNotFound(last.status()) && has_older) stored = 0;
  stream_ = stream->created;
  gap_.clear();
  published_ = 0;
  if (!position && !stored) return 0;
  const uint64_t acknowledged = position ? position->sequence : *stored;
  if (!stored && other && acknowledged > 0) gap_ = "it was created again";
  // Events behind the position were not acknowledged: they are sent again.
  const uint64_t begin = stored ? std::min(*stored, acknowledged) : acknowledged;
  published_ = of.journal_id == node_.journal_id ? begin : 0;
  if (position && begin == acknowledged) return begin;
  if (position) {
    log_->Note(absl::StrCat("the stream ", kFleetStream,
                            " was restored or rolled back: it has the events up to ", begin, " of ",
                            acknowledged, "; the rest is published again"));
  }
  const absl::Status saved = cursor_->Save(server_, {begin, of.journal_id});
  if (!saved.ok()) return saved;
  return begin;
}

absl::Status FleetPush::Follow(FleetSession* session, const NatsConnection& connection) {
  StopSource stop;
  const std::stop_callback forward(stop_->token(), [&stop] { stop.Stop(); });
  const MadeSource source =
      MakeSource(command_.follow, line_, PositionsIn(cursor_), &stop, PrintNote);
  if (const auto* failure = std::get_if<Failure>(&source)) {
    return absl::UnavailableError(failure->sentence);
  }
  Delivery::Options options;
  options.servers = {server_};
  options.consumer = session;
  options.cursor = cursor_;
  Delivery delivery(std::move(options));
  Batcher::Limits limits;
  limits.events = kBatch;
  Batcher batcher(limits, stop.token());
  ExitCode code = ExitCode::kOk;
  std::thread follower([&] {
    code = std::get<std::unique_ptr<Source>>(source)->Run(&batcher);
    batcher.Close();
  });
  batcher.Run(&delivery, [session] { return session->Tick(); });
  stop.Stop();
  follower.join();
  if (!delivery.status().ok()) return delivery.status();
  if (code != ExitCode::kOk) code_ = code;
  return connection.closed()
             ? absl::UnavailableError(connection.complaint().empty() ? "the connection is lost"
                                                                     : connection.complaint())
             : absl::UnavailableError("the daemon's stream ended");
}

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
