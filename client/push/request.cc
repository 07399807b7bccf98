#include "client/push/request.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/text.h"
#include "client/consume/exec.h"
#include "client/fleet/fleet_message.h"
#include "client/output/event_text.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

using Json = nlohmann::ordered_json;

// The object with one more member, whose value is JSON.
std::string WithMember(const Json& object, absl::string_view name, absl::string_view value) {
  const std::string text = JsonText(object);
  return absl::StrCat(absl::string_view(text).substr(0, text.size() - 1), ",\"", name, "\":", value,
                      "}");
}

absl::StatusOr<std::string> CloudEvent(const v1::Event& event, const MessageNode& node) {
  const absl::StatusOr<std::string> data = ToJson(event);
  if (!data.ok()) return data.status();
  Json json;
  for (const auto& [name, value] : CloudEventOf(event, node)) json[name] = value;
  json["datacontenttype"] = "application/json";
  return WithMember(json, "data", *data);
}

std::string PlaceOf(const MessageNode& node) {
  if (node.name.empty()) return "the fleet";
  return absl::StrCat(node.cluster.empty() ? "" : absl::StrCat(node.cluster, "/"), node.name);
}

// "web1 on node7: STOPPED, CRASH (GUEST_PANIC): the guest's kernel panicked", or "node7: GAP: ...".
// The message gives its first sentence, without the class, which stands before.
std::string Sentence(const v1::Event& event, const MessageNode& node) {
  std::string text = event.vm().name().empty()
                         ? PlaceOf(node)
                         : absl::StrCat(event.vm().name(), " on ", PlaceOf(node));
  absl::StrAppend(&text, ": ", ShortName(event.type()));
  std::string message = event.message().substr(0, event.message().find(". "));
  if (event.has_shutdown()) {
    absl::StrAppend(&text, ", ", ClassWord(event.shutdown()), " (",
                    ShortName(event.shutdown().cause()), ")");
    message = EndSentence(event.shutdown(), event.message());
    if (absl::StartsWith(message, "The ")) message[0] = 't';
    message = absl::StrCat(IntentPrefix(event.shutdown()), message);
  }
  message = std::string(absl::StripSuffix(message, "."));
  if (!message.empty()) absl::StrAppend(&text, ": ", message);
  const auto& words = event.shutdown().last_words().lines();
  if (!words.empty()) absl::StrAppend(&text, "; QEMU's last words: ", *words.rbegin());
  return text;
}

// Replaces each {{NAME}} in the text. INVALID_ARGUMENT: there is no such field.
absl::StatusOr<std::string> FillText(absl::string_view text,
                                     const std::map<std::string, std::string>& fields) {
  std::string filled;
  while (true) {
    const size_t begin = text.find("{{");
    absl::StrAppend(&filled, text.substr(0, begin));
    if (begin == text.npos) return filled;
    const size_t end = text.find("}}", begin);
    const absl::string_view name =
        absl::StripAsciiWhitespace(text.substr(begin, end - begin).substr(2));
    const auto field = fields.find(std::string(name));
    if (end == text.npos || field == fields.end()) {
      constexpr size_t kLongestName = 40;
      const auto name_of = [](std::string* out, const auto& one) { out->append(one.first); };
      return absl::InvalidArgumentError(absl::StrCat(
          "has \"{{", EscapeForTerminal(name.substr(0, kLongestName)),
          "}}\", which is no field; write one of ", absl::StrJoin(fields, ", ", name_of)));
    }
    absl::StrAppend(&filled, EscapeForTerminal(field->second));
    text.remove_prefix(end + 2);
  }
}

absl::Status FillStrings(const std::map<std::string, std::string>& fields, Json* json) {
  absl::Status status;
  if (json->is_string()) {
    const auto filled = FillText(json->get_ref<std::string&>(), fields);
    if (filled.ok()) *json = *filled;
    return filled.status();
  }
  if (!json->is_structured()) return status;
  for (Json& inner : *json) status.Update(FillStrings(fields, &inner));
  return status;
}

// The event as -o json prints it of several nodes, and before that the journal_id.
absl::StatusOr<std::string> PushJson(const v1::Event& event, const MessageNode& node) {
  const absl::StatusOr<std::string> json = ToJson(event, node);
  if (!json.ok()) return json.status();
  return absl::StrCat("{\"journal_id\":", JsonText(node.journal_id), ",",
                      absl::string_view(*json).substr(1));
}

// `write` of each event, as a JSON array.
template <typename Write>
absl::StatusOr<std::string> ArrayOf(Formatter::Events events, Write write) {
  std::vector<std::string> objects;
  for (const NodeEvent& one : events) {
    absl::StatusOr<std::string> object = write(one.event, one.node);
    if (!object.ok()) return object.status();
    objects.push_back(*std::move(object));
  }
  return absl::StrCat("[", absl::StrJoin(objects, ","), "]");
}

}  // namespace

absl::string_view NameOf(PushFormat format) {
  static constexpr absl::string_view kNames[] = {"cloudevents", "json", "template"};
  return kNames[static_cast<size_t>(format)];
}

std::string SetAsideLine(const NodeEvent& one, absl::string_view target, absl::string_view reason,
                         absl::Time now) {
  const absl::StatusOr<std::string> event = PushJson(one.event, one.node);
  const Json head = {{"set_aside", Rfc3339Text(now)},
                     {"target", std::string(target)},
                     {"reason", std::string(reason)},
                     {"source", SourceOf(one.node)},
                     {"id", IdOf(one.event)}};
  return WithMember(head, "event", event.ok() ? *event : "null") + "\n";
}

absl::StatusOr<NodeEvent> ParseSetAside(absl::string_view line) {
  try {
    const Json event = Json::parse(line).at("event");
    NodeEvent one = {
        {},
        {event.value("node", ""), event.value("cluster", ""), event.value("journal_id", ""), {}},
        {}};
    if (ParsePayload(event.dump(), &one.event).ok()) return one;
  } catch (const Json::exception&) {
    // It is none either.
  }
  return absl::InvalidArgumentError("has a line without an event");
}

absl::StatusOr<std::string> FillTemplate(const std::string& form, const v1::Event& event,
                                         const MessageNode& node) {
  // Slack refuses a text of more than 3,000 characters, PagerDuty one of more than 1,024.
  constexpr size_t kMaxText = 1000;
  std::string text = EscapeForTerminal(Sentence(event, node));
  size_t end = 0;
  for (size_t n = 1; n < kMaxText && end < text.size(); ++n) {
    end += std::max<size_t>(DecodeUtf8(absl::string_view(text).substr(end)).length, 1);
  }
  if (end < text.size()) text = absl::StrCat(text.substr(0, end), "\u2026");
  std::map<std::string, std::string> fields = {
      {"text", std::move(text)},
      {"event_id", absl::StrCat(SourceOf(node), "#", IdOf(event))},
      {"journal_id", node.journal_id}};
  for (auto& [name, value] : EventVariables(event, node)) {
    fields[absl::AsciiStrToLower(absl::StripPrefix(name, "VMEVENTS_"))] = value;
  }
  Json json;
  try {
    json = Json::parse(form);
  } catch (const Json::parse_error& error) {
    return absl::InvalidArgumentError(absl::StrCat("is not JSON: ", JsonFault(error.what())));
  }
  if (!json.is_structured()) return absl::InvalidArgumentError("has no JSON object");
  if (absl::Status status = FillStrings(fields, &json); !status.ok()) return status;
  return JsonText(json);
}

absl::StatusOr<PushBody> BodyOf(PushFormat format, const std::string& form,
                                Formatter::Events events) {
  const NodeEvent& first = events.front();
  absl::StatusOr<std::string> text;
  absl::string_view type = "application/json";
  if (format == PushFormat::kTemplate) {
    text = FillTemplate(form, first.event, first.node);
  } else if (format == PushFormat::kJson) {
    text = ArrayOf(events, PushJson);
  } else if (events.size() == 1) {
    text = CloudEvent(first.event, first.node);
    type = "application/cloudevents+json";
  } else {
    text = ArrayOf(events, CloudEvent);
    type = "application/cloudevents-batch+json";
  }
  if (!text.ok()) return text.status();
  return PushBody{absl::StrCat(type, "; charset=utf-8"), *std::move(text)};
}

absl::StatusOr<std::vector<std::string>> ParseSecrets(absl::string_view content) {
  constexpr size_t kLeast = 16;
  constexpr size_t kLongest = 1024;
  constexpr size_t kMax = 2;
  std::vector<std::string> secrets;
  for (absl::string_view line : absl::StrSplit(content, '\n', absl::SkipEmpty())) {
    line = absl::StripSuffix(line, "\r");
    if (line.size() < kLeast || line.size() > kLongest) {
      return absl::InvalidArgumentError(
          absl::StrCat("has a secret of ", line.size(), " bytes; write one of ", kLeast, " to ",
                       kLongest, " on a line, as `openssl rand -hex 32` makes one"));
    }
    secrets.emplace_back(line);
  }
  if (secrets.empty() || secrets.size() > kMax) {
    return absl::InvalidArgumentError(absl::StrCat("has ", secrets.size(),
                                                   " secrets; write one, or while it is replaced "
                                                   "two, each on a line"));
  }
  return secrets;
}

std::string HmacOf(absl::string_view secret, absl::string_view text) {
  std::string code(SHA256_DIGEST_LENGTH, '\0');
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(),
       reinterpret_cast<unsigned char*>(code.data()), nullptr);
  return absl::BytesToHexString(code);
}

std::string Signature(const std::vector<std::string>& secrets, absl::string_view body,
                      absl::Time now) {
  const std::string seconds = absl::StrCat(absl::ToUnixSeconds(now));
  std::string header = absl::StrCat("t=", seconds);
  for (const std::string& secret : secrets) {
    absl::StrAppend(&header, ",v1=", HmacOf(secret, absl::StrCat(seconds, ".", body)));
  }
  return header;
}

}  // namespace vmeventd::client
