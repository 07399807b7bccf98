#include "client/nats/stream_reader.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/nats/jetstream_api.h"

namespace vmeventd {

absl::Status NoJetStream() {
  return absl::UnavailableError(
      "the server has no JetStream, or not for this account: enable it in the server's "
      "configuration (jetstream {})");
}

absl::StatusOr<std::string> AskJetStream(NatsConnection* connection, absl::string_view request,
                                         absl::string_view stream, absl::string_view text,
                                         absl::Duration timeout) {
  const absl::StatusOr<NatsMessagePtr> answer =
      connection->Request(ApiSubject(request, stream), text, timeout);
  if (absl::IsNotFound(answer.status())) return NoJetStream();
  if (!answer.ok()) return answer.status();
  return std::string((*answer)->data());
}

absl::StatusOr<StreamState> ReadStreamState(NatsConnection* connection, absl::string_view stream) {
  const absl::StatusOr<std::string> answer = AskJetStream(connection, "STREAM.INFO", stream, "");
  if (!answer.ok()) return answer.status();
  return ParseStreamState(*answer);
}

absl::StatusOr<StoredMessage> ReadMessage(NatsConnection* connection, absl::string_view stream,
                                          uint64_t place) {
  const absl::StatusOr<std::string> answer =
      AskJetStream(connection, "STREAM.MSG.GET", stream, MessageRequest(place));
  if (!answer.ok()) return answer.status();
  return ParseStoredMessage(*answer);
}

absl::StatusOr<StoredMessage> ReadLastMessage(NatsConnection* connection, absl::string_view stream,
                                              absl::string_view subjects) {
  constexpr absl::Duration kSearchTimeout = absl::Minutes(1);
  const absl::StatusOr<std::string> answer = AskJetStream(
      connection, "STREAM.MSG.GET", stream, LastMessageRequest(subjects), kSearchTimeout);
  if (!answer.ok()) return answer.status();
  return ParseStoredMessage(*answer);
}

absl::StatusOr<std::unique_ptr<StreamReader>> StreamReader::Open(
    NatsConnection* connection, std::string stream, const std::vector<std::string>& subjects,
    const ReadStart& start, std::function<absl::Time()> clock) {
  auto reader = absl::WrapUnique(new StreamReader(connection, std::move(stream), std::move(clock)));
  const absl::StatusOr<std::string> inbox = connection->NewInbox();
  if (!inbox.ok()) return inbox.status();
  reader->inbox_ = *inbox;
  // The inbox gets the messages and the server's statuses of the pull.
  auto subscription = connection->Subscribe(*inbox, size_t{2} * kMessages);
  if (!subscription.ok()) return subscription.status();
  reader->subscription_ = *std::move(subscription);
  // A cluster may choose a server that has just died for the consumer, for half a minute; then
  // nobody answers, and a retry is likely to get another server.
  absl::StatusOr<std::string> answer = absl::UnavailableError("not asked");
  for (int i = 0; i < kCreateAttempts && !answer.ok() && !connection->closed(); ++i) {
    answer = AskJetStream(connection, "CONSUMER.CREATE", reader->stream_,
                          CreateConsumerRequest(reader->stream_, subjects, start), kCreateTimeout);
  }
  if (!answer.ok()) return answer.status();
  const absl::StatusOr<ConsumerState> state = ParseConsumerState(*answer);
  if (!state.ok()) return state.status();
  reader->consumer_ = state->name;
  reader->pending_ = state->pending;
  return reader;
}

StreamReader::~StreamReader() {
  if (consumer_.empty() || connection_->closed()) return;
  const std::string subject = absl::StrCat(ApiSubject("CONSUMER.DELETE", stream_), ".", consumer_);
  // Otherwise the server deletes it when it is not used any more.
  (void)connection_->Publish({.subject = subject});
}

absl::Status StreamReader::Pull() {
  const std::string subject =
      absl::StrCat(ApiSubject("CONSUMER.MSG.NEXT", stream_), ".", consumer_);
  const std::string request = PullRequest(kMessages, bytes_, kExpires, kHeartbeat);
  absl::Status status =
      connection_->Publish({.subject = subject, .reply = inbox_, .data = request});
  if (!status.ok()) return status;
  wanted_ = kMessages;
  heard_ = clock_();
  return absl::OkStatus();
}

absl::Status StreamReader::TakeStatus(const NatsMessage& message) {
  const std::string status = message.header("Status");
  const std::string description = message.header("Description");
  if (status == "100") return absl::OkStatus();  // a heartbeat
  // The pull's time is over, or nothing is there; of 409 only those that concern the pull alone.
  const bool full = status == "409" && absl::StartsWith(description, "Message Size Exceeds");
  if (status == "404" || status == "408" || full) {
    if (full && wanted_ == kMessages) bytes_ *= 2;  // not even one message
    wanted_ = 0;
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat("JetStream gives up the consumer of the stream ",
                                             stream_, ": ", status, description.empty() ? "" : " ",
                                             description));
}

absl::StatusOr<std::optional<StreamReader::Message>> StreamReader::Next(absl::Duration timeout) {
  const absl::Time deadline = clock_() + timeout;
  while (true) {
    if (wanted_ == 0) {
      if (absl::Status status = Pull(); !status.ok()) return status;
    }
    const absl::Time now = clock_();
    absl::StatusOr<NatsMessagePtr> next = subscription_->Next(deadline - now);
    if (!next.ok()) return absl::UnavailableError(next.status().message());
    if (*next == nullptr) {
      if (clock_() - heard_ > kSilence) {
        return absl::UnavailableError(absl::StrCat("nothing came from the stream ", stream_,
                                                   " for ", absl::FormatDuration(kSilence)));
      }
      return std::nullopt;
    }
    heard_ = clock_();
    NatsMessagePtr message = *std::move(next);
    // Any publisher can give its message the status of a server's word: what is delivered is none.
    const std::optional<Delivery> delivery = ParseDelivery(message->reply());
    if (!delivery) {
      if (message->no_responders()) {
        return absl::UnavailableError(
            absl::StrCat("the consumer of the stream ", stream_, " is gone"));
      }
      if (absl::Status status = TakeStatus(*message); !status.ok()) return status;
      if (clock_() >= deadline) return std::nullopt;
      continue;
    }
    if (delivery->number != read_ + 1) {
      return absl::UnavailableError(absl::StrCat("messages of the stream ", stream_,
                                                 " were lost on the way and are read again"));
    }
    ++read_;
    --wanted_;
    pending_ = delivery->pending;
    return Message{std::move(message), delivery->stream_sequence, delivery->time};
  }
}

absl::StatusOr<std::optional<uint64_t>> StreamReader::AskScanned() {
  const absl::StatusOr<std::string> answer =
      AskJetStream(connection_, "CONSUMER.INFO", absl::StrCat(stream_, ".", consumer_), "");
  if (!answer.ok()) return answer.status();
  const absl::StatusOr<ConsumerState> state = ParseConsumerState(*answer);
  if (!state.ok()) return state.status();
  if (state->delivered != read_ || state->pending != 0) return std::nullopt;
  return state->scanned;
}

}  // namespace vmeventd
