#include "client/nats/stream_reader.h"

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/nats/ack_subject.h"
#include "client/nats/api.h"
#include "client/nats/domain.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

using nlohmann::json;

// A pull ends after this time, which the server reports; a consumer that is silent for longer
// counts as lost.
constexpr absl::Duration kExpires = absl::Seconds(10);
constexpr absl::Duration kSilence = absl::Seconds(15);
// A cluster may choose a server that has just died for a consumer, for half a minute, or it has no
// leader: another attempt is likely to get another server.
constexpr int kCreateAttempts = 5;
constexpr absl::Duration kCreateTimeout = absl::Seconds(2);
constexpr absl::Duration kCreatePause = absl::Milliseconds(200);
// A consumer that nobody pulls from for so long is deleted by the server.
constexpr absl::Duration kInactive = absl::Minutes(1);

json ConsumerSettings(const std::vector<std::string>& subjects, const ReadStart& start) {
  json config = {{"ack_policy", "none"},
                 {"replay_policy", "instant"},
                 {"inactive_threshold", absl::ToInt64Nanoseconds(kInactive)},
                 {"mem_storage", true},
                 {"num_replicas", 1}};
  if (const auto* sequence = std::get_if<uint64_t>(&start)) {
    config["deliver_policy"] = "by_start_sequence";
    config["opt_start_seq"] = *sequence;
  } else if (const auto* time = std::get_if<absl::Time>(&start)) {
    config["deliver_policy"] = "by_start_time";
    config["opt_start_time"] = absl::FormatTime(absl::RFC3339_full, *time, absl::UTCTimeZone());
  } else {
    config["deliver_policy"] = "last_per_subject";
  }
  if (subjects.size() == 1) config["filter_subject"] = subjects.front();
  if (subjects.size() > 1) config["filter_subjects"] = subjects;
  return config;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StreamReader>> StreamReader::Open(
    NatsConnection* connection, std::string stream, const std::vector<std::string>& subjects,
    const ReadStart& start, std::function<absl::Time()> clock) {
  auto reader = absl::WrapUnique(new StreamReader(connection, std::move(stream), std::move(clock)));
  reader->inbox_ = connection->NewInbox();
  // The inbox gets the messages and the server's statuses of the pull.
  auto subscription = connection->Subscribe(reader->inbox_);
  if (!subscription.ok()) return subscription.status();
  reader->subscription_ = *std::move(subscription);
  const json request = {{"stream_name", reader->stream_},
                        {"config", ConsumerSettings(subjects, start)}};
  const auto take = [&reader](const json& consumer) {
    reader->consumer_ = consumer.at("name");
    reader->pending_ = NumberIn(consumer, "num_pending");
    return true;
  };
  absl::StatusOr<bool> made;
  for (int left = kCreateAttempts; left > 0; --left) {
    made = AskApi(connection, "CONSUMER.CREATE", reader->stream_, request, take, kCreateTimeout);
    // A client without the permission gets a complaint instead of an answer.
    if (!absl::IsUnavailable(made.status()) || connection->closed() ||
        !connection->complaint().empty()) {
      break;
    }
    if (left > 1) absl::SleepFor(kCreatePause);
  }
  if (!made.ok()) return made.status();
  return reader;
}

StreamReader::~StreamReader() {
  if (consumer_.empty() || connection_->closed()) return;
  const std::string subject = absl::StrCat(ApiSubject("CONSUMER.DELETE", stream_), ".", consumer_);
  // Otherwise the server deletes it when it is not used any more.
  (void)connection_->Publish({.subject = subject});
}

absl::StatusOr<std::optional<StoredMessage>> StreamReader::Next(absl::Duration timeout) {
  const absl::Time deadline = clock_() + timeout;
  while (true) {
    if (wanted_ == 0) {
      const json request = {{"batch", kMessages},
                            {"max_bytes", bytes_},
                            {"expires", absl::ToInt64Nanoseconds(kExpires)}};
      absl::Status asked = connection_->Publish(
          {.subject = absl::StrCat(ApiSubject("CONSUMER.MSG.NEXT", stream_), ".", consumer_),
           .reply = inbox_,
           .data = request.dump()});
      if (!asked.ok()) return asked;
      wanted_ = kMessages;
      received_ = clock_();
    }
    const absl::Time now = clock_();
    absl::StatusOr<std::optional<NatsMessage>> next = subscription_->Next(deadline - now);
    if (!next.ok()) return absl::UnavailableError(next.status().message());
    if (!next->has_value()) {
      if (clock_() - received_ > kSilence) {
        return absl::UnavailableError(absl::StrCat("nothing came from the stream ", stream_,
                                                   " for ", absl::FormatDuration(kSilence)));
      }
      return std::nullopt;
    }
    received_ = clock_();
    NatsMessage message = **std::move(next);
    // Any publisher can give its message the status of a server's report: one that the consumer
    // delivers is none.
    const std::optional<AckSubject> delivery = ParseAckSubject(message.reply);
    if (!delivery) {
      const std::string status = message.header("Status");
      const std::string description = message.header("Description");
      // These end only the pull: 404 (no messages), 408 (its time is over), and a 409 about its
      // size.
      const bool full = status == "409" && absl::StartsWith(description, "Message Size Exceeds");
      if (status != "404" && status != "408" && !full) {
        return absl::UnavailableError(absl::StrCat("JetStream ended the consumer of the stream ",
                                                   stream_, ": ", status, " ", description));
      }
      if (full && wanted_ == kMessages) bytes_ *= 2;  // not even one message
      wanted_ = 0;
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
    return StoredMessage{std::move(message), delivery->stream_sequence, delivery->time};
  }
}

absl::StatusOr<bool> StreamReader::AskWhetherAllIsRead() {
  return AskApi(connection_, "CONSUMER.INFO", absl::StrCat(stream_, ".", consumer_), {},
                [this](const json& consumer) {
                  return NumberIn(consumer.at("delivered"), "consumer_seq") == read_ &&
                         NumberIn(consumer, "num_pending") == 0;
                });
}

}  // namespace vmeventd::client
