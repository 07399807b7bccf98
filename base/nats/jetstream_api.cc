#include "base/nats/jetstream_api.h"

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/nats/subject.h"
#include "base/quote.h"
#include "nlohmann/json.hpp"

namespace vmeventd {
namespace {

using nlohmann::json;

constexpr int64_t kNoMessage = 10037;
constexpr int64_t kNoStream = 10059;

// A member; null: there is none.
const json& Member(const json& object, const char* name) {
  static const auto* const null = new json();
  if (!object.is_object()) return *null;
  const auto found = object.find(name);
  return found == object.end() ? *null : *found;
}

std::string TextIn(const json& object, const char* name) {
  const json& member = Member(object, name);
  return member.is_string() ? member.get<std::string>() : "";
}

uint64_t NumberIn(const json& object, const char* name) {
  const json& member = Member(object, name);
  return member.is_number_unsigned() ? member.get<uint64_t>() : 0;
}

json Parse(absl::string_view text) {
  return json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
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

// An acknowledgement as the servers write it for a message that is new. Nullopt: another answer.
// There is one for each message, and the general way takes many times as long. It reads the same.
std::optional<StreamAck> ParseUsualAck(absl::string_view text) {
  if (!absl::ConsumePrefix(&text, R"({"stream":")") || !absl::ConsumeSuffix(&text, "}")) {
    return std::nullopt;
  }
  const size_t end = text.find_first_of("\"\\");
  StreamAck ack;
  ack.stream = std::string(text.substr(0, end));
  if (end == text.npos || ack.stream.empty() ||
      !std::all_of(ack.stream.begin(), ack.stream.end(), absl::ascii_isprint)) {
    return std::nullopt;
  }
  text.remove_prefix(end);
  if (!absl::ConsumePrefix(&text, "\",")) return std::nullopt;
  absl::ConsumePrefix(&text, " ");
  if (!absl::ConsumePrefix(&text, R"("seq":)") || text.empty() || text.front() == '0' ||
      text.find_first_not_of("0123456789") != text.npos ||
      !absl::SimpleAtoi(text, &ack.stream_sequence)) {
    return std::nullopt;
  }
  return ack;
}

}  // namespace

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
              {"duplicate_window", absl::ToInt64Nanoseconds(kStreamDuplicateWindow)}}
      .dump();
}

std::string CreateBucketRequest(absl::string_view bucket, int replicas) {
  // As NATS's own clients create one.
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
              {"duplicate_window", absl::ToInt64Nanoseconds(kStreamDuplicateWindow)},
              {"allow_rollup_hdrs", true},
              {"deny_delete", true},
              {"allow_direct", true}}
      .dump();
}

std::string StreamInfoRequest(absl::string_view filter) {
  return filter.empty() ? "" : json{{"subjects_filter", std::string(filter)}}.dump();
}

std::string LastMessageRequest(absl::string_view subjects) {
  return json{{"last_by_subj", std::string(subjects)}}.dump();
}

std::string NextMessageRequest(absl::string_view subjects, uint64_t stream_sequence) {
  return json{{"next_by_subj", std::string(subjects)}, {"seq", stream_sequence}}.dump();
}

absl::Status CheckAnswer(absl::string_view text) { return CheckError(Parse(text), text); }

absl::StatusOr<StreamInfo> ParseStreamInfo(absl::string_view text) {
  const json answer = Parse(text);
  if (absl::Status status = CheckError(answer, text); !status.ok()) return status;
  const json& state = Member(answer, "state");
  StreamInfo info{TextIn(answer, "created"), NumberIn(state, "last_seq"), {}};
  if (info.created.empty()) {
    return absl::UnavailableError(
        absl::StrCat("the server's answer ", Quote(text), " describes no stream"));
  }
  if (const json& subjects = Member(state, "subjects"); subjects.is_object()) {
    for (const auto& [subject, count] : subjects.items()) info.subjects.push_back(subject);
  }
  return info;
}

absl::StatusOr<StreamAck> ParseAck(absl::string_view text) {
  if (std::optional<StreamAck> ack = ParseUsualAck(text)) return *std::move(ack);
  const json answer = Parse(text);
  if (absl::Status status = CheckError(answer, text); !status.ok()) {
    return absl::UnavailableError(status.message());
  }
  StreamAck ack{TextIn(answer, "stream"), NumberIn(answer, "seq"),
                Member(answer, "duplicate") == true};
  if (ack.stream.empty() || ack.stream_sequence == 0) {
    return absl::UnavailableError(
        absl::StrCat("the server's answer ", Quote(text), " is no acknowledgement of JetStream"));
  }
  return ack;
}

absl::StatusOr<StoredMessage> ParseStoredMessage(absl::string_view text) {
  const json answer = Parse(text);
  if (absl::Status status = CheckError(answer, text); !status.ok()) return status;
  const json& message = Member(answer, "message");
  StoredMessage stored;
  stored.stream_sequence = NumberIn(message, "seq");
  if (stored.stream_sequence == 0) {
    return absl::UnavailableError(
        absl::StrCat("the server's answer ", Quote(text), " is no message of JetStream"));
  }
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

}  // namespace vmeventd
