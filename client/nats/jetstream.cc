#include <algorithm>

#include "absl/memory/memory.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/text.h"
#include "client/nats/nats.h"
#include "nlohmann/json.hpp"

namespace vmeventd {
namespace {

using nlohmann::json;

constexpr char kReplicas[] = "num_replicas";
// Settings by which nodes can change what others have published, and what is safe: a rollup deletes
// what all others have there, a schedule (since 2.12) writes under the name of another, and a
// server of NATS 2.9 purges and deletes for a node.
constexpr std::pair<const char*, bool> kSafeSettings[] = {{"allow_rollup_hdrs", false},
                                                          {"allow_msg_schedules", false},
                                                          {"deny_purge", true},
                                                          {"deny_delete", true}};
constexpr uint64_t kNoMessage = 10037;
constexpr uint64_t kNoStream = 10059;
constexpr uint64_t kTooLarge = 10054;
// Servers before 2.10 may search for the last message of a quiet node for seconds.
constexpr absl::Duration kSearchTimeout = absl::Minutes(1);
// A consumer that nobody pulls from for so long is deleted by the server.
constexpr absl::Duration kInactive = absl::Minutes(1);

// A member that is no such number throws.
uint64_t NumberIn(const json& object, const char* name) {
  return object.at(name).get_ref<const uint64_t&>();
}

// The infinite past: it is no time.
absl::Time TimeIn(const json& object, const char* name) {
  absl::Time time = absl::InfinitePast();
  absl::ParseTime(absl::RFC3339_full, object.at(name).get<std::string>(), &time, nullptr);
  return time;
}

// Result of `parse`, which may throw, for an answer. NOT_FOUND: there is no such stream or message.
// INVALID_ARGUMENT: the stream never takes such a message. UNAVAILABLE: another error, for people,
// or no such answer.
template <typename Parse>
auto ParseAnswer(absl::string_view text, const Parse& parse)
    -> absl::StatusOr<decltype(parse(json()))> {
  const json answer = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  try {
    if (!answer.contains("error")) return parse(answer);
    const json& error = answer.at("error");
    const uint64_t code = NumberIn(error, "err_code");
    const std::string message = absl::StrCat(
        "JetStream answers ", Quote(error.at("description").get<std::string>()), " (", code, ")");
    if (code == kNoMessage || code == kNoStream) return absl::NotFoundError(message);
    if (code == kTooLarge) return absl::InvalidArgumentError(message);
    return absl::UnavailableError(message);
  } catch (const json::exception&) {
    return absl::UnavailableError(
        absl::StrCat("the server's answer ", Quote(text), " is none of JetStream"));
  }
}

// Result of `parse` for the answer to a request of the API about a stream. UNAVAILABLE: the server
// has no JetStream; other errors: see NatsConnection::Request.
template <typename Parse>
auto Ask(NatsConnection* connection, absl::string_view request, absl::string_view stream,
         const json& body, const Parse& parse,
         absl::Duration timeout = NatsConnection::kRequestTimeout)
    -> absl::StatusOr<decltype(parse(json()))> {
  const auto answer = connection->Request(
      {.subject = ApiSubject(request, stream), .data = body.is_null() ? "" : body.dump()}, timeout);
  if (answer.ok()) return ParseAnswer(*answer, parse);
  if (!absl::IsNotFound(answer.status())) return answer.status();
  return absl::UnavailableError(
      "the server has no JetStream, or not for this account: enable it in the server's "
      "configuration (jetstream {})");
}

StreamState StateIn(const json& answer) {
  const json& state = answer.at("state");
  StreamState stream;
  stream.created = answer.at("created");
  stream.last = NumberIn(state, "last_seq");
  // A stream that never had a message has the first sequence 0.
  stream.first = NumberIn(state, "messages") == 0 ? stream.last + 1 : NumberIn(state, "first_seq");
  stream.first_time = TimeIn(state, "first_ts");
  stream.last_time = TimeIn(state, "last_ts");
  const json& config = answer.at("config");
  std::vector<std::string> unsafe;
  for (const auto& [name, safe] : kSafeSettings) {
    if (config.value(name, false) == safe) continue;
    unsafe.push_back(absl::StrCat(name, " is ", safe ? "off" : "on"));
  }
  // Any other retention deletes what was acknowledged, or what nobody reads.
  const std::string retention = config.value("retention", "limits");
  if (retention != "limits") unsafe.push_back(absl::StrCat("its retention is ", retention));
  stream.unsafe = absl::StrJoin(unsafe, ", ");
  return stream;
}

StoredMessage MessageIn(const json& answer) {
  const json& message = answer.at("message");
  StoredMessage stored;
  stored.stream_sequence = NumberIn(message, "seq");
  if (message.contains("time")) stored.time = TimeIn(message, "time");
  stored.message.subject = message.at("subject");
  std::string headers;  // "NATS/1.0\r\nNAME: VALUE\r\n\r\n", or empty
  if (!absl::Base64Unescape(message.value("hdrs", ""), &headers) ||
      !absl::Base64Unescape(message.value("data", ""), &stored.message.data)) {
    throw json::other_error::create(0, "it is not Base64", &message);
  }
  for (const absl::string_view line : absl::StrSplit(headers, "\r\n")) {
    const std::pair<absl::string_view, absl::string_view> header =
        absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (header.second.empty()) continue;
    stored.message.headers.emplace_back(header.first, absl::StripAsciiWhitespace(header.second));
  }
  return stored;
}

}  // namespace

std::string InDomain(absl::string_view domain, absl::string_view subject) {
  absl::string_view rest = subject;
  const bool moves = absl::ConsumePrefix(&rest, "$JS.API.") || absl::StartsWith(subject, "$KV.");
  if (domain.empty() || !moves) return std::string(subject);
  return absl::StrCat("$JS.", domain, ".API.", rest);
}

absl::Status CheckDomain(absl::string_view domain) {
  const bool fits = !domain.empty() && std::all_of(domain.begin(), domain.end(), [](char c) {
    return absl::ascii_isgraph(c) && c != '.' && c != '*' && c != '>';
  });
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "is not a domain of JetStream: use visible ASCII without \".\", \"*\" and \">\"");
}

std::string ApiSubject(absl::string_view request, absl::string_view stream) {
  return absl::StrCat("$JS.API.", request, ".", stream);
}

absl::StatusOr<std::string> MakeStream(NatsConnection* connection, const std::string& stream,
                                       const std::string& settings, int replicas) {
  json info;
  const auto parse = [&info](const json& answer) {
    info = answer;
    return StateIn(answer);
  };
  const auto state = Ask(connection, "STREAM.INFO", stream, {}, parse);
  if (!state.ok() && !absl::IsNotFound(state.status())) return state.status();
  json config = json::parse(settings);
  config[kReplicas] = std::max(replicas, 1);
  std::string done = "created";
  if (state.ok()) {
    config = info.at("config");
    const int before = config.value(kReplicas, 1);
    done = state->unsafe.empty() ? "" : absl::StrCat("made safe: ", state->unsafe);
    if (replicas > 0 && before != replicas) {
      // nats-server 2.9.10 takes it, and has lost the stream after its next start.
      if (!info.contains("cluster")) {
        return absl::FailedPreconditionError(
            absl::StrCat("the stream ", stream,
                         " has 1 replica, and its server is in no cluster: only a cluster stores ",
                         replicas, " replicas; form one first"));
      }
      absl::StrAppend(&done, done.empty() ? "" : "; ", "replicas ", replicas, " instead of ",
                      before);
      config[kReplicas] = replicas;
    }
    if (done.empty()) return absl::StrCat(stream, ": exists already\n");
    for (const auto& [name, safe] : kSafeSettings) {
      if (safe || config.contains(name)) config[name] = safe;
    }
  }
  const auto now =
      Ask(connection, state.ok() ? "STREAM.UPDATE" : "STREAM.CREATE", stream, config, StateIn);
  if (now.ok() && now->unsafe.empty()) return absl::StrCat(stream, ": ", done, "\n");
  return absl::FailedPreconditionError(
      absl::StrCat("the stream ", stream, " cannot be ", done, ": ",
                   now.ok() ? now->unsafe : now.status().message()));
}

absl::StatusOr<StreamState> ReadStreamState(NatsConnection* connection, absl::string_view stream) {
  return Ask(connection, "STREAM.INFO", stream, {}, StateIn);
}

absl::StatusOr<StoredMessage> ReadMessage(NatsConnection* connection, absl::string_view stream,
                                          uint64_t stream_sequence) {
  return Ask(connection, "STREAM.MSG.GET", stream, {{"seq", stream_sequence}}, MessageIn);
}

absl::StatusOr<StoredMessage> ReadLastMessage(NatsConnection* connection, absl::string_view stream,
                                              absl::string_view subjects) {
  return Ask(connection, "STREAM.MSG.GET", stream, {{"last_by_subj", std::string(subjects)}},
             MessageIn, kSearchTimeout);
}

absl::StatusOr<uint64_t> Store(NatsConnection* connection, absl::string_view stream,
                               const NatsMessage& message, absl::Duration timeout) {
  const auto answer = connection->Request(message, timeout);
  if (absl::IsNotFound(answer.status())) {
    return absl::UnavailableError(
        absl::StrCat("nobody takes the messages: the stream ", stream,
                     " is gone, has no leader at the moment, or lacks their subjects"));
  }
  if (!answer.ok()) return answer.status();
  std::string stored_in;
  auto sequence = ParseAnswer(*answer, [&stored_in](const json& ack) {
    stored_in = ack.at("stream");
    return NumberIn(ack, "seq");
  });
  if (!sequence.ok() || stored_in == stream) return sequence;
  return absl::UnavailableError(absl::StrCat("the messages go into the stream ", stored_in,
                                             " instead of ", stream,
                                             ": take their subjects from it"));
}

// $JS.ACK.STREAM.CONSUMER.DELIVERIES.SEQUENCE.NUMBER.TIME.PENDING; servers may put a domain and an
// account before the stream, and more at the end.
std::optional<Delivery> ParseDelivery(absl::string_view reply) {
  const std::vector<absl::string_view> tokens = absl::StrSplit(reply, '.');
  if (tokens.size() < 9 || tokens.size() == 10 || tokens[0] != "$JS" || tokens[1] != "ACK") {
    return std::nullopt;
  }
  const size_t at = tokens.size() == 9 ? 5 : 7;  // index of SEQUENCE
  Delivery delivery;
  int64_t nanoseconds = 0;
  if (!absl::SimpleAtoi(tokens[at], &delivery.stream_sequence) ||
      !absl::SimpleAtoi(tokens[at + 1], &delivery.number) ||
      !absl::SimpleAtoi(tokens[at + 2], &nanoseconds) ||
      !absl::SimpleAtoi(tokens[at + 3], &delivery.pending)) {
    return std::nullopt;
  }
  delivery.time = absl::FromUnixNanos(nanoseconds);
  return delivery;
}

namespace {

// A pull ends after this time, which the server reports; a consumer that is silent for longer
// counts as lost.
constexpr absl::Duration kExpires = absl::Seconds(10);
constexpr absl::Duration kSilence = absl::Seconds(15);
// A cluster may choose a server that has just died for a consumer, for half a minute, or it has no
// leader: another attempt is likely to get another server.
constexpr int kCreateAttempts = 5;
constexpr absl::Duration kCreateTimeout = absl::Seconds(2);
constexpr absl::Duration kCreatePause = absl::Milliseconds(200);

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
    made = Ask(connection, "CONSUMER.CREATE", reader->stream_, request, take, kCreateTimeout);
    // A client without the permission gets no answer but a complaint.
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
    const std::optional<Delivery> delivery = ParseDelivery(message.reply);
    if (!delivery) {
      const std::string status = message.header("Status");
      const std::string description = message.header("Description");
      // The pull's time is over, or nothing is there; of 409 only those of the pull alone.
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
  return Ask(connection_, "CONSUMER.INFO", absl::StrCat(stream_, ".", consumer_), {},
             [this](const json& consumer) {
               return NumberIn(consumer.at("delivered"), "consumer_seq") == read_ &&
                      NumberIn(consumer, "num_pending") == 0;
             });
}

}  // namespace vmeventd
