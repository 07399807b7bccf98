#include "base/nats/consumer.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/nats/jetstream_api.h"
#include "base/quote.h"
#include "nlohmann/json.hpp"

namespace vmeventd {
namespace {

using nlohmann::json;

// A consumer that nobody pulls from for so long is deleted by the server.
constexpr absl::Duration kInactive = absl::Minutes(1);

// A number at a path of members; nullopt: there is none.
std::optional<uint64_t> NumberAt(const json& object, const json::json_pointer& path) {
  if (!object.contains(path) || !object[path].is_number_unsigned()) return std::nullopt;
  return object[path].get<uint64_t>();
}

std::string TextAt(const json& object, const json::json_pointer& path) {
  return object.contains(path) && object[path].is_string() ? object[path].get<std::string>() : "";
}

absl::Status NoAnswer(absl::string_view answer, absl::string_view what) {
  return absl::UnavailableError(
      absl::StrCat("the server's answer ", Quote(answer), " does not describe a ", what));
}

std::string TimeText(absl::Time time) {
  return absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone());
}

}  // namespace

absl::StatusOr<StreamState> ParseStreamState(absl::string_view answer) {
  if (absl::Status status = CheckAnswer(answer); !status.ok()) return status;
  const json object = json::parse(answer, nullptr, /*allow_exceptions=*/false);
  StreamState state;
  state.created = TextAt(object, json::json_pointer("/created"));
  const auto first = NumberAt(object, json::json_pointer("/state/first_seq"));
  const auto last = NumberAt(object, json::json_pointer("/state/last_seq"));
  if (state.created.empty() || !first || !last) return NoAnswer(answer, "stream");
  // A stream that never had a message has the first sequence 0.
  state.first = NumberAt(object, json::json_pointer("/state/messages")) == 0u ? *last + 1 : *first;
  state.last = *last;
  const auto time_at = [&object](const char* path, absl::Time* time) {
    std::string ignored;
    return absl::ParseTime(absl::RFC3339_full, TextAt(object, json::json_pointer(path)), time,
                           &ignored);
  };
  if (!time_at("/state/first_ts", &state.first_time) ||
      !time_at("/state/last_ts", &state.last_time)) {
    return NoAnswer(answer, "stream");
  }
  return state;
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
    config["opt_start_time"] = TimeText(*time);
  } else {
    config["deliver_policy"] = "last_per_subject";
  }
  if (subjects.size() == 1) config["filter_subject"] = subjects.front();
  if (subjects.size() > 1) config["filter_subjects"] = subjects;
  return json{{"stream_name", std::string(stream)}, {"config", config}}.dump();
}

absl::StatusOr<ConsumerState> ParseConsumerState(absl::string_view answer) {
  if (absl::Status status = CheckAnswer(answer); !status.ok()) return status;
  const json object = json::parse(answer, nullptr, /*allow_exceptions=*/false);
  ConsumerState state;
  state.name = TextAt(object, json::json_pointer("/name"));
  if (state.name.empty()) return NoAnswer(answer, "consumer");
  state.pending = NumberAt(object, json::json_pointer("/num_pending")).value_or(0);
  state.delivered = NumberAt(object, json::json_pointer("/delivered/consumer_seq")).value_or(0);
  state.scanned = NumberAt(object, json::json_pointer("/delivered/stream_seq")).value_or(0);
  return state;
}

std::string PullRequest(int messages, absl::Duration expires, absl::Duration heartbeat) {
  return json{{"batch", messages},
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
  const size_t at = tokens.size() == 9 ? 5 : 7;  // of SEQUENCE
  Delivery delivery;
  if (!absl::SimpleAtoi(tokens[at], &delivery.stream_sequence) ||
      !absl::SimpleAtoi(tokens[at + 1], &delivery.number) ||
      !absl::SimpleAtoi(tokens[at + 3], &delivery.pending)) {
    return std::nullopt;
  }
  return delivery;
}

}  // namespace vmeventd
