#include "client/nats/jetstream.h"

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

// A member; null: there is none.
const json& Member(const json& object, const char* name) {
  static const auto* const null = new json();
  if (!object.is_object()) return *null;
  const auto found = object.find(name);
  return found == object.end() ? *null : *found;
}

// "": there is no such text.
std::string TextIn(const json& object, const char* name) {
  const json& member = Member(object, name);
  return member.is_string() ? member.get<std::string>() : "";
}

// 0: there is no such number.
uint64_t NumberIn(const json& object, const char* name) {
  const json& member = Member(object, name);
  return member.is_number_unsigned() ? member.get<uint64_t>() : 0;
}

bool TimeIn(const json& object, const char* name, absl::Time* time) {
  return absl::ParseTime(absl::RFC3339_full, TextIn(object, name), time, nullptr);
}

// The answer. NOT_FOUND: there is no such stream or message. INVALID_ARGUMENT: the stream never
// takes such a message. UNAVAILABLE: another error, for people, or no answer.
absl::StatusOr<json> ParseAnswer(absl::string_view text) {
  json answer = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object()) {
    return absl::UnavailableError(absl::StrCat("the server's answer ", Quote(text),
                                               " is not a JSON object, as JetStream's are"));
  }
  const json& error = Member(answer, "error");
  if (error.is_null()) return answer;
  const uint64_t code = NumberIn(error, "err_code");
  const std::string message =
      absl::StrCat("JetStream answers ", Quote(TextIn(error, "description")), " (", code, ")");
  if (code == kNoMessage || code == kNoStream) return absl::NotFoundError(message);
  if (code == kTooLarge) return absl::InvalidArgumentError(message);
  return absl::UnavailableError(message);
}

// Sends a request of the API about a stream, and parses the answer. UNAVAILABLE: the server has no
// JetStream, or as of NatsConnection::Request.
template <typename Parse>
auto Ask(NatsConnection* connection, absl::string_view request, absl::string_view stream,
         absl::string_view text, const Parse& parse,
         absl::Duration timeout = NatsConnection::kRequestTimeout) -> decltype(parse(text)) {
  const auto answer = connection->Request(ApiSubject(request, stream), text, timeout);
  if (answer.ok()) return parse(*answer);
  if (!absl::IsNotFound(answer.status())) return answer.status();
  return absl::UnavailableError(
      "the server has no JetStream, or not for this account: enable it in the server's "
      "configuration (jetstream {})");
}

absl::Status IsNot(const char* what, const json& answer) {
  return absl::UnavailableError(absl::StrCat("the server's answer ", Quote(answer.dump()),
                                             " is not ", what, " of JetStream"));
}

absl::StatusOr<StreamState> StateIn(const json& answer) {
  const json& state = Member(answer, "state");
  StreamState stream;
  stream.created = TextIn(answer, "created");
  stream.last = NumberIn(state, "last_seq");
  // A stream that never had a message has the first sequence 0.
  stream.first = NumberIn(state, "messages") == 0 ? stream.last + 1 : NumberIn(state, "first_seq");
  if (stream.created.empty() || !TimeIn(state, "first_ts", &stream.first_time) ||
      !TimeIn(state, "last_ts", &stream.last_time)) {
    return IsNot("a stream", answer);
  }
  const json& config = Member(answer, "config");
  std::vector<std::string> unsafe;
  for (const auto& [name, safe] : kSafeSettings) {
    if ((Member(config, name) == true) == safe) continue;
    unsafe.push_back(absl::StrCat(name, " is ", safe ? "off" : "on"));
  }
  // Any other retention deletes what was acknowledged, or what nobody reads.
  const std::string retention = TextIn(config, "retention");
  if (!retention.empty() && retention != "limits") {
    unsafe.push_back(absl::StrCat("its retention is ", retention));
  }
  stream.unsafe = absl::StrJoin(unsafe, ", ");
  return stream;
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

absl::StatusOr<StreamState> ParseStreamState(absl::string_view text) {
  const absl::StatusOr<json> answer = ParseAnswer(text);
  return answer.ok() ? StateIn(*answer) : answer.status();
}

absl::StatusOr<StoredMessage> ParseStoredMessage(absl::string_view text) {
  const absl::StatusOr<json> answer = ParseAnswer(text);
  if (!answer.ok()) return answer.status();
  const json& message = Member(*answer, "message");
  StoredMessage stored;
  std::string headers;  // "NATS/1.0\r\nNAME: VALUE\r\n\r\n", or empty
  stored.stream_sequence = NumberIn(message, "seq");
  (void)TimeIn(message, "time", &stored.time);
  stored.message.subject = TextIn(message, "subject");
  if (stored.stream_sequence == 0 || !absl::Base64Unescape(TextIn(message, "hdrs"), &headers) ||
      !absl::Base64Unescape(TextIn(message, "data"), &stored.message.data)) {
    return IsNot("a message", *answer);
  }
  for (const absl::string_view line : absl::StrSplit(headers, "\r\n")) {
    const std::pair<absl::string_view, absl::string_view> header =
        absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (header.second.empty()) continue;
    stored.message.headers.emplace_back(header.first, absl::StripAsciiWhitespace(header.second));
  }
  return stored;
}

absl::StatusOr<std::string> MakeStream(NatsConnection* connection, const std::string& stream,
                                       const std::string& settings, int replicas) {
  const auto present = Ask(connection, "STREAM.INFO", stream, "", ParseAnswer);
  const auto state = present.ok() ? StateIn(*present) : present.status();
  if (!state.ok() && !absl::IsNotFound(state.status())) return state.status();
  json config = json::parse(settings);
  config[kReplicas] = std::max(replicas, 1);
  std::string done = "created";
  if (state.ok()) {
    config = Member(*present, "config");
    const uint64_t before = NumberIn(config, kReplicas);
    done = state->unsafe.empty() ? "" : absl::StrCat("made safe: ", state->unsafe);
    if (replicas > 0 && before != static_cast<uint64_t>(replicas)) {
      // nats-server 2.9.10 takes it, and has lost the stream after its next start.
      if (!Member(*present, "cluster").is_object()) {
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
  const auto answer =
      Ask(connection, state.ok() ? "STREAM.UPDATE" : "STREAM.CREATE", stream, config.dump(),
          [](absl::string_view text) { return absl::StatusOr<std::string>(text); });
  const auto now = answer.ok() ? ParseStreamState(*answer) : answer.status();
  if (now.ok() && now->unsafe.empty()) return absl::StrCat(stream, ": ", done, "\n");
  const std::string why = absl::StrCat("the stream ", stream, " cannot be ", done, ": ",
                                       now.ok() ? now->unsafe : now.status().message());
  return answer.ok() ? absl::FailedPreconditionError(why) : absl::UnavailableError(why);
}

absl::StatusOr<StreamState> ReadStreamState(NatsConnection* connection, absl::string_view stream) {
  return Ask(connection, "STREAM.INFO", stream, "", ParseStreamState);
}

absl::StatusOr<StoredMessage> ReadMessage(NatsConnection* connection, absl::string_view stream,
                                          uint64_t stream_sequence) {
  return Ask(connection, "STREAM.MSG.GET", stream, json{{"seq", stream_sequence}}.dump(),
             ParseStoredMessage);
}

absl::StatusOr<StoredMessage> ReadLastMessage(NatsConnection* connection, absl::string_view stream,
                                              absl::string_view subjects) {
  const json request = {{"last_by_subj", std::string(subjects)}};
  return Ask(connection, "STREAM.MSG.GET", stream, request.dump(), ParseStoredMessage,
             kSearchTimeout);
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

std::string CreateConsumerRequest(absl::string_view stream,
                                  const std::vector<std::string>& subjects,
                                  const ReadStart& start) {
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
  return json{{"stream_name", std::string(stream)}, {"config", config}}.dump();
}

}  // namespace

absl::StatusOr<std::unique_ptr<StreamReader>> StreamReader::Open(
    NatsConnection* connection, std::string stream, const std::vector<std::string>& subjects,
    const ReadStart& start, std::function<absl::Time()> clock) {
  auto reader = absl::WrapUnique(new StreamReader(connection, std::move(stream), std::move(clock)));
  reader->inbox_ = connection->NewInbox();
  // The inbox gets the messages and the server's statuses of the pull.
  auto subscription = connection->Subscribe(reader->inbox_, size_t{2} * kMessages);
  if (!subscription.ok()) return subscription.status();
  reader->subscription_ = *std::move(subscription);
  const std::string request = CreateConsumerRequest(reader->stream_, subjects, start);
  absl::StatusOr<json> answer;
  for (int left = kCreateAttempts; left > 0; --left) {
    answer =
        Ask(connection, "CONSUMER.CREATE", reader->stream_, request, ParseAnswer, kCreateTimeout);
    // A client without the permission gets no answer but a complaint.
    if (!absl::IsUnavailable(answer.status()) || connection->closed() ||
        !connection->complaint().empty()) {
      break;
    }
    if (left > 1) absl::SleepFor(kCreatePause);
  }
  if (!answer.ok()) return answer.status();
  reader->consumer_ = TextIn(*answer, "name");
  reader->pending_ = NumberIn(*answer, "num_pending");
  if (reader->consumer_.empty()) return IsNot("a consumer", *answer);
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
  const json request = {
      {"batch", kMessages}, {"max_bytes", bytes_}, {"expires", absl::ToInt64Nanoseconds(kExpires)}};
  absl::Status status =
      connection_->Publish({.subject = subject, .reply = inbox_, .data = request.dump()});
  if (!status.ok()) return status;
  wanted_ = kMessages;
  received_ = clock_();
  return absl::OkStatus();
}

absl::Status StreamReader::TakeStatus(const NatsMessage& message) {
  const std::string status = message.header("Status");
  const std::string description = message.header("Description");
  // The pull's time is over, or nothing is there; of 409 only those that concern the pull alone.
  const bool full = status == "409" && absl::StartsWith(description, "Message Size Exceeds");
  if (status == "404" || status == "408" || full) {
    if (full && wanted_ == kMessages) bytes_ *= 2;  // not even one message
    wanted_ = 0;
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat("JetStream ended the consumer of the stream ", stream_,
                                             ": ", status, description.empty() ? "" : " ",
                                             description));
}

absl::StatusOr<std::optional<StoredMessage>> StreamReader::Next(absl::Duration timeout) {
  const absl::Time deadline = clock_() + timeout;
  while (true) {
    if (wanted_ == 0) {
      if (absl::Status status = Pull(); !status.ok()) return status;
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
      if (absl::Status status = TakeStatus(message); !status.ok()) return status;
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
  const auto answer =
      Ask(connection_, "CONSUMER.INFO", absl::StrCat(stream_, ".", consumer_), "", ParseAnswer);
  if (!answer.ok()) return answer.status();
  return NumberIn(Member(*answer, "delivered"), "consumer_seq") == read_ &&
         NumberIn(*answer, "num_pending") == 0;
}

absl::StatusOr<uint64_t> ParseAck(const NatsMessage& answer, absl::string_view stream) {
  if (answer.no_responders()) {
    return absl::UnavailableError(
        absl::StrCat("nobody takes the messages: the stream ", stream,
                     " is gone, has no leader at the moment, or lacks their subjects"));
  }
  const absl::StatusOr<json> ack = ParseAnswer(answer.data);
  if (!ack.ok()) return ack.status();
  const std::string stored_in = TextIn(*ack, "stream");
  const uint64_t sequence = NumberIn(*ack, "seq");
  if (stored_in.empty() || sequence == 0) return IsNot("an acknowledgement", *ack);
  if (stored_in == stream) return sequence;
  return absl::UnavailableError(absl::StrCat("the messages go into the stream ", stored_in,
                                             " instead of ", stream,
                                             ": take their subjects from it"));
}

}  // namespace vmeventd
