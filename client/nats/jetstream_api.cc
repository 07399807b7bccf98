#include "client/nats/jetstream_api.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/text.h"
#include "client/nats/subject.h"
#include "nlohmann/json.hpp"

namespace vmeventd {
namespace {

using nlohmann::json;

constexpr char kRollups[] = "allow_rollup_hdrs";
constexpr char kSchedules[] = "allow_msg_schedules";  // since 2.12
constexpr char kReplicas[] = "num_replicas";
constexpr const char* kDenied[] = {"deny_purge", "deny_delete"};
constexpr uint64_t kNoMessage = 10037;
constexpr uint64_t kNoStream = 10059;
constexpr uint64_t kTooLarge = 10054;
// A consumer that nobody pulls from for so long is deleted by the server.
constexpr absl::Duration kInactive = absl::Minutes(1);

// Returns a discarded value if `text` is not JSON.
json ParseJson(absl::string_view text) {
  return json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
}

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

absl::Status CheckError(const json& answer, absl::string_view text) {
  if (!answer.is_object()) {
    return absl::UnavailableError(absl::StrCat("the server's answer ", Quote(text),
                                               " is no JSON object, as JetStream's are"));
  }
  const json& error = Member(answer, "error");
  if (error.is_null()) return absl::OkStatus();
  const uint64_t code = NumberIn(error, "err_code");
  const std::string message =
      absl::StrCat("JetStream answers ", Quote(TextIn(error, "description")), " (", code, ")");
  if (code == kNoMessage || code == kNoStream) return absl::NotFoundError(message);
  return absl::UnavailableError(message);
}

// Returns StreamState::unfit. Null `config`: the answer has none.
std::string UnfitFor(const json& config) {
  if (const std::string retention = TextIn(config, "retention");
      !retention.empty() && retention != "limits") {
    return absl::StrCat("its retention is ", Quote(retention),
                        ", which deletes what consumers have read; it must be \"limits\"");
  }
  if (!Member(config, "mirror").is_null()) {
    return "it is a mirror, into which nobody can publish";
  }
  if (Member(config, "no_ack") == true) return "it acknowledges nothing (no_ack)";
  if (Member(config, "sealed") == true) return "it is sealed";
  return "";
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
      "is no domain of JetStream: visible ASCII without \".\", \"*\" and \">\"");
}

std::string ApiSubject(absl::string_view request, absl::string_view stream) {
  return absl::StrCat("$JS.API.", request, ".", stream);
}

std::string CreateStreamRequest(absl::string_view stream, int replicas) {
  return json{{"name", std::string(stream)},
              {"description", "Events of VMs, published by vmeventd"},
              {"subjects", {absl::StrCat(kSubjectPrefix, ".>")}},
              {"retention", "limits"},
              {"storage", "file"},
              {"discard", "old"},
              {"max_age", absl::ToInt64Nanoseconds(kStreamMaxAge)},
              {"max_msgs", -1},
              {"max_bytes", -1},
              {"num_replicas", replicas},
              {"deny_delete", true},
              {"deny_purge", true}}
      .dump();
}

std::string CreateBucketRequest(absl::string_view bucket, int replicas) {
  // Settings of NATS's own clients, but for those that would make it unsafe.
  return json{{"name", BucketStream(bucket)},
              {"description", "Written by vmeventd"},
              {"subjects", {KeySubject(bucket, ">")}},
              {"retention", "limits"},
              {"storage", "file"},
              {"discard", "new"},
              {"max_age", absl::ToInt64Nanoseconds(kBucketMaxAge)},
              {"max_msgs", -1},
              {"max_bytes", -1},
              {"max_msgs_per_subject", 1},
              {"num_replicas", replicas},
              {"allow_rollup_hdrs", false},
              {"deny_delete", true},
              {"deny_purge", true},
              {"allow_direct", true}}
      .dump();
}

std::string UpdateRequest(absl::string_view answer, int replicas) {
  json config = Member(ParseJson(answer), "config");
  for (const char* const setting : {kRollups, kSchedules}) {
    if (config.contains(setting)) config[setting] = false;
  }
  for (const char* const setting : kDenied) config[setting] = true;
  if (replicas > 0) config[kReplicas] = replicas;
  return config.dump();
}

std::string LastMessageRequest(absl::string_view subjects) {
  return json{{"last_by_subj", std::string(subjects)}}.dump();
}

std::string MessageRequest(uint64_t stream_sequence) {
  return json{{"seq", stream_sequence}}.dump();
}

absl::Status CheckAnswer(absl::string_view text) { return CheckError(ParseJson(text), text); }

absl::StatusOr<StreamState> ParseStreamState(absl::string_view answer) {
  const json object = ParseJson(answer);
  if (absl::Status status = CheckError(object, answer); !status.ok()) return status;
  const json& state = Member(object, "state");
  StreamState stream;
  stream.created = TextIn(object, "created");
  stream.last = NumberIn(state, "last_seq");
  stream.messages = NumberIn(state, "messages");
  // A stream that never had a message has the first sequence 0.
  stream.first = stream.messages == 0 ? stream.last + 1 : NumberIn(state, "first_seq");
  std::string ignored;
  if (stream.created.empty() ||
      !absl::ParseTime(absl::RFC3339_full, TextIn(state, "first_ts"), &stream.first_time,
                       &ignored) ||
      !absl::ParseTime(absl::RFC3339_full, TextIn(state, "last_ts"), &stream.last_time, &ignored)) {
    return absl::UnavailableError(
        absl::StrCat("the server's answer ", Quote(answer), " describes no stream"));
  }
  const json& config = Member(object, "config");
  stream.replicas = NumberIn(config, kReplicas);
  stream.clustered = Member(object, "cluster").is_object();
  if (Member(config, kRollups) == true) {
    stream.unsafe = "it permits rollups, by which a node can delete what all others have there";
  } else if (Member(config, kSchedules) == true) {
    stream.unsafe =
        "it permits message schedules, by which a node can write under the name of another";
  } else if (Member(config, kDenied[0]) != true || Member(config, kDenied[1]) != true) {
    stream.unsafe =
        "it permits purging and deleting (no deny_purge, deny_delete), which a node can make a "
        "server of NATS 2.9 do";
  }
  stream.unfit = UnfitFor(config);
  return stream;
}

absl::StatusOr<std::string> ParseAck(absl::string_view text) {
  const json answer = ParseJson(text);
  if (absl::Status status = CheckError(answer, text); !status.ok()) {
    const uint64_t code = NumberIn(Member(answer, "error"), "err_code");
    if (code == kTooLarge) return absl::InvalidArgumentError(status.message());
    return absl::UnavailableError(status.message());
  }
  const std::string stream = TextIn(answer, "stream");
  if (stream.empty() || NumberIn(answer, "seq") == 0) {
    return absl::UnavailableError(
        absl::StrCat("the server's answer ", Quote(text), " is no acknowledgement of JetStream"));
  }
  return stream;
}

absl::StatusOr<StoredMessage> ParseStoredMessage(absl::string_view text) {
  const json answer = ParseJson(text);
  if (absl::Status status = CheckError(answer, text); !status.ok()) return status;
  const json& message = Member(answer, "message");
  StoredMessage stored;
  stored.stream_sequence = NumberIn(message, "seq");
  if (stored.stream_sequence == 0) {
    return absl::UnavailableError(
        absl::StrCat("the server's answer ", Quote(text), " is no message of JetStream"));
  }
  std::string ignored;
  absl::ParseTime(absl::RFC3339_full, TextIn(message, "time"), &stored.time, &ignored);
  stored.subject = TextIn(message, "subject");
  if (!absl::Base64Unescape(TextIn(message, "hdrs"), &stored.headers) ||
      !absl::Base64Unescape(TextIn(message, "data"), &stored.data)) {
    return absl::UnavailableError(
        absl::StrCat("the server's answer ", Quote(text), " is no message of JetStream"));
  }
  return stored;
}

std::string HeaderIn(absl::string_view headers, absl::string_view name) {
  for (const absl::string_view line : absl::StrSplit(headers, "\r\n")) {
    const size_t colon = line.find(':');
    if (colon == line.npos || !absl::EqualsIgnoreCase(line.substr(0, colon), name)) continue;
    return std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
  }
  return "";
}

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

absl::StatusOr<ConsumerState> ParseConsumerState(absl::string_view answer) {
  if (absl::Status status = CheckAnswer(answer); !status.ok()) return status;
  const json object = ParseJson(answer);
  const json& delivered = Member(object, "delivered");
  const ConsumerState state{TextIn(object, "name"), NumberIn(object, "num_pending"),
                            NumberIn(delivered, "consumer_seq"), NumberIn(delivered, "stream_seq")};
  if (state.name.empty()) {
    return absl::UnavailableError(
        absl::StrCat("the server's answer ", Quote(answer), " does not describe a consumer"));
  }
  return state;
}

std::string PullRequest(int messages, int64_t bytes, absl::Duration expires,
                        absl::Duration heartbeat) {
  return json{{"batch", messages},
              {"max_bytes", bytes},
              {"expires", absl::ToInt64Nanoseconds(expires)},
              {"idle_heartbeat", absl::ToInt64Nanoseconds(heartbeat)}}
      .dump();
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

}  // namespace vmeventd
