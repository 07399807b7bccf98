#include "client/nats/jetstream.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/nats/api.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

using nlohmann::json;

constexpr char kReplicas[] = "num_replicas";
// Settings by which a node can change what others have published, each with its safe value. A
// rollup deletes what all others have there; a schedule (since 2.12) writes under another name;
// without the last two, a server of NATS 2.9 purges and deletes for a node.
constexpr std::pair<const char*, bool> kSafeSettings[] = {{"allow_rollup_hdrs", false},
                                                          {"allow_msg_schedules", false},
                                                          {"deny_purge", true},
                                                          {"deny_delete", true}};
// Servers before 2.10 may search for the last message of a quiet node for seconds.
constexpr absl::Duration kSearchTimeout = absl::Minutes(1);

// Parses the time; the infinite past if it is none.
absl::Time TimeIn(const json& object, const char* name) {
  absl::Time time = absl::InfinitePast();
  absl::ParseTime(absl::RFC3339_full, object.at(name).get<std::string>(), &time, nullptr);
  return time;
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

absl::StatusOr<std::string> MakeStream(NatsConnection* connection, const std::string& stream,
                                       const std::string& settings, int replicas) {
  json info;
  const auto parse = [&info](const json& answer) {
    info = answer;
    return StateIn(answer);
  };
  const auto state = AskApi(connection, "STREAM.INFO", stream, {}, parse);
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
      AskApi(connection, state.ok() ? "STREAM.UPDATE" : "STREAM.CREATE", stream, config, StateIn);
  if (now.ok() && now->unsafe.empty()) return absl::StrCat(stream, ": ", done, "\n");
  return absl::FailedPreconditionError(
      absl::StrCat("the stream ", stream, " cannot be ", done, ": ",
                   now.ok() ? now->unsafe : now.status().message()));
}

absl::StatusOr<StreamState> ReadStreamState(NatsConnection* connection, absl::string_view stream) {
  return AskApi(connection, "STREAM.INFO", stream, {}, StateIn);
}

absl::StatusOr<StoredMessage> ReadMessage(NatsConnection* connection, absl::string_view stream,
                                          uint64_t stream_sequence) {
  return AskApi(connection, "STREAM.MSG.GET", stream, {{"seq", stream_sequence}}, MessageIn);
}

absl::StatusOr<StoredMessage> ReadLastMessage(NatsConnection* connection, absl::string_view stream,
                                              absl::string_view subjects) {
  return AskApi(connection, "STREAM.MSG.GET", stream, {{"last_by_subj", std::string(subjects)}},
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

}  // namespace vmeventd::client
