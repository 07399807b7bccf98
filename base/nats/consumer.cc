#include "base/nats/consumer.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/json_text.h"
#include "base/quote.h"

namespace vmeventd {
namespace {

using nats::json;
using nats::Member;
using nats::NumberIn;
using nats::ParseJson;
using nats::TextIn;

// A consumer that nobody pulls from for so long is deleted by the server.
constexpr absl::Duration kInactive = absl::Minutes(1);

std::string TimeText(absl::Time time) {
  return absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone());
}

}  // namespace

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
