#include "client/run/push_fleet.h"

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "client/consume/delivery.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream_api.h"
#include "client/nats/stream_reader.h"
#include "client/nats/subject.h"
#include "client/output/terminal_text.h"
#include "client/push/fleet_publisher.h"
#include "client/run/run.h"

namespace vmeventd::client {
namespace {

constexpr absl::Duration kFirstPause = absl::Seconds(1);
constexpr absl::Duration kLongestPause = absl::Minutes(1);
// Nodes that come back together share the servers: each has one small batch under way.
constexpr size_t kBatch = 256;
constexpr absl::Duration kInfoTimeout = absl::Seconds(5);

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
  absl::StatusOr<std::unique_ptr<NatsConnection>> ConnectServers() const;
  // Finds what the stream has of the node, and moves the cursor where that is less than was
  // acknowledged. Returns what the stream has everything up to.
  absl::StatusOr<uint64_t> FindStart(NatsConnection* connection);
  absl::Status Follow(FleetPublisher* publisher, const NatsConnection& connection);

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
  const auto connection = ConnectServers();
  if (!connection.ok()) return connection.status();
  const absl::StatusOr<uint64_t> published = FindStart(connection->get());
  if (!published.ok()) return published.status();
  const auto publisher = FleetPublisher::Open({.connection = connection->get(),
                                               .daemon = stub.get(),
                                               .node = node_,
                                               .json = command_.format == PushFormat::kJson,
                                               .published = published_,
                                               .log = log_,
                                               .stop = stop_->token()});
  if (!publisher.ok()) return publisher.status();
  if (!gap_.empty()) {
    MessageNode of = node_;
    of.journal_id = cursor_->Find(server_)->journal_id;
    absl::Status status = (*publisher)->PublishGap(of, 1, *published, gap_);
    if (!status.ok()) return status;
  }
  log_->SetStream(stream_);
  if (!std::exchange(announced_, true)) announce_();
  absl::Status status = Follow(publisher->get(), **connection);
  if (stop_->stopped()) (*publisher)->Leave();
  return status;
}

absl::StatusOr<std::unique_ptr<NatsConnection>> FleetPush::ConnectServers() const {
  NatsOptions options;
  options.servers = target_.nats;
  options.name = absl::StrCat("vmevents push ", node_.name);
  options.inbox_prefix = absl::StrCat("_INBOX.vmeventd.", NodeBucketKey(node_.cluster, node_.name));
  options.credentials = command_.credentials;
  options.domain = command_.domain;
  options.tls_ca = command_.tls.ca_file;
  options.tls_cert = command_.tls.cert_file;
  options.tls_key = command_.tls.key_file;
  return ConnectNats(options);
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
      ReadLastMessage(connection, kFleetStream, NodeSubjects(node_.cluster, node_.name));
  if (!last.ok() && !absl::IsNotFound(last.status())) return last.status();
  const std::optional<WatchPosition> position = cursor_->Find(server_);
  MessageNode of = node_;
  if (position) of.journal_id = position->journal_id;
  const std::optional<uint64_t> stored = last.ok() ? SequenceIn(*last, of) : std::nullopt;
  const bool other = log_->state().stream != stream->created && !log_->state().stream.empty();
  stream_ = stream->created;
  gap_.clear();
  published_ = 0;
  if (!position && !stored) return 0;
  const uint64_t acknowledged = position ? position->sequence : *stored;
  if (!stored && other && acknowledged > 0) gap_ = "it was made again";
  // Events behind the position were not acknowledged: they are sent again.
  const uint64_t begin = stored ? std::min(*stored, acknowledged) : acknowledged;
  published_ = of.journal_id == node_.journal_id ? begin : 0;
  if (position && begin == acknowledged) return begin;
  if (position) {
    log_->Note(absl::StrCat("the stream ", kFleetStream,
                            " was restored or rolled back: ", "it has the events up to ", begin,
                            " of ", acknowledged, "; the rest is published again"));
  }
  const absl::Status saved = cursor_->Save(server_, {begin, of.journal_id});
  if (!saved.ok()) return saved;
  return begin;
}

absl::Status FleetPush::Follow(FleetPublisher* publisher, const NatsConnection& connection) {
  StopSource session;
  const std::stop_callback forward(stop_->token(), [&session] { session.Stop(); });
  const MadeSource source =
      MakeSource(command_.follow, line_, PositionsIn(cursor_), &session, PrintNote);
  if (const auto* failure = std::get_if<Failure>(&source)) {
    return absl::UnavailableError(failure->sentence);
  }
  Delivery::Options options;
  options.servers = {server_};
  options.consumer = publisher;
  options.cursor = cursor_;
  Delivery delivery(std::move(options));
  Batcher::Limits limits;
  limits.events = kBatch;
  Batcher batcher(limits, session.token());
  ExitCode code = ExitCode::kOk;
  std::thread follower([&] {
    code = std::get<std::unique_ptr<Source>>(source)->Run(&batcher);
    batcher.Close();
  });
  batcher.Run(&delivery, [publisher] { return publisher->Tick(); });
  session.Stop();
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
