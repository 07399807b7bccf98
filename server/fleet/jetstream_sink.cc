#include "server/fleet/jetstream_sink.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/jetstream_request.h"
#include "base/nats/subject.h"

namespace vmeventd {
namespace {

// A server that acknowledges nothing of a batch for so long is lost.
constexpr absl::Duration kAckTimeout = absl::Seconds(15);
// Time limit of the last message at a stop.
constexpr absl::Duration kLeaveTimeout = absl::Milliseconds(500);
// How soon an Interrupt is noticed.
constexpr absl::Duration kSlice = absl::Milliseconds(100);
// Acknowledgements that wait to be read: of a batch, and of some before it.
constexpr size_t kMaxAcks = 65'536;

absl::Duration MonotonicNow() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

class JetStreamSink : public FleetSink {
 public:
  explicit JetStreamSink(JetStreamOptions options)
      : options_(std::move(options)), subjects_(NodeSubjects(options_.cluster, options_.node)) {}

  absl::StatusOr<std::optional<FleetTail>> Connect() override;
  absl::StatusOr<std::set<uint64_t>> StoredAfter(const FleetPosition& after, size_t limit) override;
  Progress Publish(const std::vector<FleetMessage>& batch) override {
    return Send(options_.stream, batch);
  }
  absl::StatusOr<BucketInfo> OpenBucket(absl::string_view bucket,
                                        absl::string_view filter) override;
  absl::StatusOr<bool> IsDeleted(absl::string_view bucket, const std::string& subject) override;
  Progress Put(absl::string_view bucket, const std::vector<FleetMessage>& batch) override {
    return Send(BucketStream(bucket), batch);
  }
  absl::Status Leave(const FleetMessage& message) override;
  absl::Status Check() override;
  void Interrupt() override { interrupted_ = true; }

 private:
  absl::Status Open();
  // Makes sure that there is a stream; `create`: the request that creates it.
  absl::StatusOr<StreamInfo> OpenStream(const std::string& stream, absl::string_view filter,
                                        const std::string& create);
  // JetStream's answer to a request of its API about a stream.
  absl::StatusOr<std::string> Request(absl::string_view api, absl::string_view stream,
                                      const std::string& text);
  // The answer to a request for a message; nullopt: there is none.
  absl::StatusOr<std::optional<StoredMessage>> GetMessage(absl::string_view stream,
                                                          const std::string& request);
  Progress Send(const std::string& stream, const std::vector<FleetMessage>& batch);
  // The acknowledgements that come until each of `count` messages has one, or one is refused.
  Progress CollectAcks(const std::string& stream, size_t count);
  // The next acknowledgement, and the message that it is for.
  absl::StatusOr<std::pair<size_t, StreamAck>> NextAck(const std::string& stream);

  const JetStreamOptions options_;
  const std::string subjects_;  // of the node
  std::atomic<bool> interrupted_ = false;

  // In this order: the subscription goes before its connection.
  std::unique_ptr<NatsConnection> connection_;
  std::unique_ptr<NatsSubscription> acks_;
  std::string inbox_;        // where acknowledgements go: INBOX.BATCH.INDEX
  std::string batch_inbox_;  // of the batch under way
  uint64_t batches_ = 0;
};

absl::Status JetStreamSink::Open() {
  acks_.reset();
  connection_.reset();
  if (interrupted_) return absl::CancelledError("vmeventd is stopping");
  absl::StatusOr<std::unique_ptr<NatsConnection>> connection = ConnectNats(options_.nats);
  if (!connection.ok()) return connection.status();
  connection_ = *std::move(connection);
  absl::StatusOr<std::string> inbox = connection_->NewInbox();
  if (!inbox.ok()) return inbox.status();
  inbox_ = *std::move(inbox);
  absl::StatusOr<std::unique_ptr<NatsSubscription>> acks =
      connection_->Subscribe(absl::StrCat(inbox_, ".>"), kMaxAcks);
  if (!acks.ok()) return acks.status();
  acks_ = *std::move(acks);
  return absl::OkStatus();
}

absl::StatusOr<std::string> JetStreamSink::Request(absl::string_view api, absl::string_view stream,
                                                   const std::string& text) {
  if (interrupted_) return absl::CancelledError("vmeventd is stopping");
  return AskJetStream(connection_.get(), ApiSubject(api, stream), text);
}

absl::StatusOr<StreamInfo> JetStreamSink::OpenStream(const std::string& stream,
                                                     absl::string_view filter,
                                                     const std::string& create) {
  absl::StatusOr<std::string> answer = Request("STREAM.INFO", stream, StreamInfoRequest(filter));
  if (!answer.ok()) return answer.status();
  absl::StatusOr<StreamInfo> info = ParseStreamInfo(*answer);
  if (!absl::IsNotFound(info.status())) return info;
  if (options_.create_replicas == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("there is no stream ", stream,
                     ": create it (docs/fleet.md), or give --publish-create-stream"));
  }
  answer = Request("STREAM.CREATE", stream, create);
  if (!answer.ok()) return answer.status();
  info = ParseStreamInfo(*answer);
  if (info.ok()) return info;
  return absl::UnavailableError(
      absl::StrCat("the stream ", stream, " cannot be created: ", info.status().message()));
}

absl::StatusOr<std::optional<StoredMessage>> JetStreamSink::GetMessage(absl::string_view stream,
                                                                       const std::string& request) {
  const absl::StatusOr<std::string> answer = Request("STREAM.MSG.GET", stream, request);
  if (!answer.ok()) return answer.status();
  absl::StatusOr<StoredMessage> message = ParseStoredMessage(*answer);
  if (absl::IsNotFound(message.status())) return std::nullopt;
  if (!message.ok()) return message.status();
  return *std::move(message);
}

// nullopt: another program has sent it.
std::optional<FleetMessageId> IdOf(const StoredMessage& message) {
  return ParseMessageId(HeaderIn(message.headers, kMessageIdHeader));
}

absl::StatusOr<std::optional<FleetTail>> JetStreamSink::Connect() {
  if (absl::Status status = Open(); !status.ok()) return status;
  if (const auto opened = OpenStream(
          options_.stream, "", CreateStreamRequest(options_.stream, options_.create_replicas));
      !opened.ok()) {
    return opened.status();
  }
  const absl::StatusOr<std::optional<StoredMessage>> last =
      GetMessage(options_.stream, LastMessageRequest(subjects_));
  if (!last.ok()) return last.status();
  if (!last->has_value()) return std::nullopt;
  const std::optional<FleetMessageId> id = IdOf(**last);
  if (!id.has_value()) return std::nullopt;
  return TailOf(*id, (*last)->stream_sequence, HeaderIn((*last)->headers, kSentAfterHeader));
}

absl::StatusOr<std::set<uint64_t>> JetStreamSink::StoredAfter(const FleetPosition& after,
                                                              size_t limit) {
  std::set<uint64_t> found;
  uint64_t next = after.stream_sequence + 1;
  for (size_t searched = 0;; ++searched) {
    const absl::StatusOr<std::optional<StoredMessage>> message =
        GetMessage(options_.stream, NextMessageRequest(subjects_, next));
    if (!message.ok()) return message.status();
    if (!message->has_value()) return found;
    if (searched == limit) {
      return absl::OutOfRangeError(absl::StrCat("more than ", limit, " messages of the node"));
    }
    const std::optional<FleetMessageId> id = IdOf(**message);
    if (id.has_value() && id->journal_id == after.journal_id && id->sequence > after.sequence) {
      found.insert(id->sequence);
    }
    next = (*message)->stream_sequence + 1;
  }
}

FleetSink::Progress JetStreamSink::Send(const std::string& stream,
                                        const std::vector<FleetMessage>& batch) {
  batch_inbox_ = absl::StrCat(inbox_, ".", ++batches_, ".");
  for (size_t i = 0; i < batch.size(); ++i) {
    const FleetMessage& message = batch[i];
    if (absl::Status status = connection_->Publish({.subject = message.subject,
                                                    .reply = absl::StrCat(batch_inbox_, i),
                                                    .data = message.payload,
                                                    .headers = &message.headers});
        !status.ok()) {
      return {.status = status};
    }
  }
  return CollectAcks(stream, batch.size());
}

absl::StatusOr<FleetSink::BucketInfo> JetStreamSink::OpenBucket(absl::string_view bucket,
                                                                absl::string_view filter) {
  absl::StatusOr<StreamInfo> info = OpenStream(
      BucketStream(bucket), filter, CreateBucketRequest(bucket, options_.create_replicas));
  if (!info.ok()) return info.status();
  return BucketInfo{std::move(info->created), std::move(info->subjects)};
}

absl::StatusOr<bool> JetStreamSink::IsDeleted(absl::string_view bucket,
                                              const std::string& subject) {
  const absl::StatusOr<std::optional<StoredMessage>> last =
      GetMessage(BucketStream(bucket), LastMessageRequest(subject));
  if (!last.ok()) return last.status();
  return !last->has_value() || !HeaderIn((*last)->headers, kKeyOperationHeader).empty();
}

absl::Status JetStreamSink::Leave(const FleetMessage& message) {
  if (connection_ == nullptr || connection_->closed()) {
    return absl::UnavailableError("there is no connection");
  }
  if (absl::Status status = connection_->Publish({.subject = message.subject,
                                                  .reply = "",
                                                  .data = message.payload,
                                                  .headers = &message.headers});
      !status.ok()) {
    return status;
  }
  return connection_->Flush(kLeaveTimeout);
}

absl::Status JetStreamSink::Check() {
  return connection_->closed() ? absl::UnavailableError("the connection is lost")
                               : absl::OkStatus();
}

absl::StatusOr<std::pair<size_t, StreamAck>> JetStreamSink::NextAck(const std::string& stream) {
  const absl::Duration deadline = MonotonicNow() + kAckTimeout;
  while (MonotonicNow() < deadline) {
    if (interrupted_) return absl::CancelledError("vmeventd is stopping");
    const absl::StatusOr<NatsMessagePtr> message = acks_->Next(kSlice);
    if (!message.ok()) return message.status();
    if (*message == nullptr) continue;
    absl::string_view subject = (*message)->subject();
    size_t index = 0;
    if (!absl::ConsumePrefix(&subject, batch_inbox_) || !absl::SimpleAtoi(subject, &index)) {
      continue;  // of a batch before
    }
    if ((*message)->no_responders()) {
      return absl::UnavailableError(
          absl::StrCat("no stream takes the events: the stream ", stream,
                       " is gone, has no leader at the moment, or lacks its subjects"));
    }
    absl::StatusOr<StreamAck> ack = ParseAck((*message)->data());
    if (!ack.ok()) return ack.status();
    if (ack->stream != stream) {
      return absl::UnavailableError(absl::StrCat("the events go into the stream ", ack->stream,
                                                 " instead of ", stream,
                                                 ": take their subjects from it"));
    }
    return std::pair(index, *std::move(ack));
  }
  const std::string complaint = connection_->complaint();
  return absl::UnavailableError(
      absl::StrCat("no acknowledgement came for ", absl::FormatDuration(kAckTimeout),
                   complaint.empty() ? "" : "; the server says: ", complaint));
}

FleetSink::Progress JetStreamSink::CollectAcks(const std::string& stream, size_t count) {
  Progress progress;
  std::vector<StreamAck> acks(count);  // stream_sequence 0: not yet
  for (size_t missing = count; missing > 0;) {
    absl::StatusOr<std::pair<size_t, StreamAck>> ack = NextAck(stream);
    if (!ack.ok()) {
      progress.status = ack.status();
      break;
    }
    if (ack->first >= count || acks[ack->first].stream_sequence != 0) continue;
    acks[ack->first] = std::move(ack->second);
    --missing;
  }
  for (const StreamAck& ack : acks) {
    if (ack.stream_sequence == 0) break;
    ++progress.acknowledged;
    progress.stream_sequence = std::max(progress.stream_sequence, ack.stream_sequence);
    if (ack.repeated) ++progress.repeated;
  }
  return progress;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FleetSink>> MakeJetStreamSink(JetStreamOptions options) {
  if (absl::Status status = LoadNatsLibrary(); !status.ok()) {
    return absl::FailedPreconditionError(absl::StrCat("--publish: ", status.message()));
  }
  return std::make_unique<JetStreamSink>(std::move(options));
}

}  // namespace vmeventd
