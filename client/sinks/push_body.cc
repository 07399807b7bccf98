#include "client/sinks/push_body.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "client/fleet/cloud_event.h"
#include "client/output/end_text.h"
#include "client/output/enum_names.h"
#include "client/output/json.h"
#include "client/output/terminal_text.h"
#include "client/sinks/event_json.h"
#include "client/sinks/event_variables.h"
#include "nlohmann/json.hpp"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

using Json = nlohmann::ordered_json;

// The event as a CloudEvent.
absl::StatusOr<Json> CloudEventJson(const NodeEvent& one) {
  const auto text = ToJson(one.event);
  if (!text.ok()) return text.status();
  Json json;
  for (const auto& [name, value] : CloudEventOf(one.event, one.node)) json[name] = value;
  json["datacontenttype"] = "application/json";
  json["data"] = Json::parse(*text);
  return json;
}

std::string PlaceOf(const MessageNode& node) {
  return node.name.empty() ? "the fleet" : node.full_name();
}

// "web1 on node7: STOPPED, CRASH (GUEST_PANIC): The guest's kernel panicked.", or "node7: GAP:
// ...".
std::string Sentence(const v1::Event& event, const MessageNode& node) {
  std::string text = event.vm().name().empty()
                         ? PlaceOf(node)
                         : absl::StrCat(event.vm().name(), " on ", PlaceOf(node));
  absl::StrAppend(&text, ": ", ShortName(event.type()));
  std::string message = event.message();
  if (event.has_shutdown()) {
    absl::StrAppend(&text, ", ", ClassWord(event.shutdown()), " (",
                    ShortName(event.shutdown().cause()), ")");
    message = EndSentence(event.shutdown(), event.message());
    const std::string between =
        EndedBetween(event.shutdown(), FromTimestamp(event.observe_time()), absl::UTCTimeZone());
    message = absl::StrCat(IntentPrefix(event.shutdown()),
                           between.empty() ? "" : absl::StrCat(between, " UTC: "), message);
  }
  if (!message.empty()) absl::StrAppend(&text, ": ", message);
  const auto& words = event.shutdown().last_words().lines();
  if (!words.empty()) absl::StrAppend(&text, " QEMU's last words: ", *words.rbegin());
  return text;
}

// PagerDuty's severities.
absl::string_view SeverityOf(const v1::Event& event) {
  if (event.type() == v1::EVENT_TYPE_GAP) return "warning";
  switch (event.shutdown().shutdown_class()) {
    case v1::SHUTDOWN_CLASS_CRASH:
      return "critical";
    case v1::SHUTDOWN_CLASS_UNKNOWN:
      return "error";
    default:
      return "info";
  }
}

// The VM's name, or for an event without a VM the node's name. For titles, in which receivers
// expect markup: its characters are replaced.
std::string SubjectOf(const v1::Event& event, const MessageNode& node) {
  return absl::StrReplaceAll(event.has_vm() ? event.vm().name() : PlaceOf(node),
                             {{"<", "_"}, {">", "_"}, {"&", "_"}, {"@", "_"}, {"*", "_"}});
}

// The values of a template's fields, escaped for a JSON string, without the quotation marks.
std::map<std::string, std::string> FieldsOf(const v1::Event& event, const MessageNode& node) {
  // Slack refuses a text of more than 3,000 characters, PagerDuty one of more than 1,024.
  constexpr size_t kMaxText = 1000;
  std::map<std::string, std::string> fields;
  const auto add = [&fields](absl::string_view name, absl::string_view value) {
    const std::string text = JsonText(EscapeForTerminal(value));
    fields[absl::StrCat("{{", name, "}}")] = text.substr(1, text.size() - 2);
  };
  add("text", CutText(EscapeForTerminal(Sentence(event, node)), kMaxText));
  add("subject", SubjectOf(event, node));
  add("severity", SeverityOf(event));
  add("event_id", absl::StrCat(SourceOf(node), "#", IdOf(event)));
  add("journal_id", node.journal_id);
  for (const auto& [name, value] : EventVariables(event, node)) {
    add(absl::AsciiStrToLower(absl::StripPrefix(name, "VMEVENTS_")), value);
  }
  return fields;
}

}  // namespace

absl::string_view NameOf(PushFormat format) {
  static constexpr absl::string_view kNames[] = {"cloudevents", "json", "template"};
  return kNames[static_cast<size_t>(format)];
}

absl::StatusOr<std::string> CheckTemplate(const std::string& form) {
  constexpr size_t kMaxShown = 40;
  try {
    if (!Json::parse(form).is_structured()) return absl::InvalidArgumentError("has no JSON object");
  } catch (const Json::parse_error& error) {
    const absl::string_view before = absl::string_view(form).substr(0, error.byte);
    return absl::InvalidArgumentError(
        absl::StrCat("is not JSON: a fault in line ", absl::c_count(before, '\n') + 1));
  }
  constexpr char kPlaceholder[] = "REPLACE-";  // in the templates of the examples
  if (const size_t at = form.find(kPlaceholder); at != form.npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        "has \"", EscapeForTerminal(form.substr(at, std::min(kMaxShown, form.find('"', at) - at))),
        "\"; write your own value there"));
  }
  std::vector<std::string> names;
  std::string rest = form;
  for (const auto& [field, value] : FieldsOf({}, {})) {
    names.push_back(field.substr(2, field.size() - 4));
    rest = absl::StrReplaceAll(rest, {{field, ""}});
  }
  const size_t at = rest.find("{{");  // in a string
  if (at == rest.npos) return form;
  const size_t size = std::min(kMaxShown, rest.find("}}", at) - at + 2);
  return absl::InvalidArgumentError(absl::StrCat("has \"", EscapeForTerminal(rest.substr(at, size)),
                                                 "\", which is no field; write one of ",
                                                 absl::StrJoin(names, ", ")));
}

absl::StatusOr<PushBody> BodyOf(PushFormat format, const std::string& form,
                                Formatter::Events events) {
  PushBody body = {"application/json; charset=utf-8", ""};
  if (format == PushFormat::kTemplate) {
    body.text = absl::StrReplaceAll(form, FieldsOf(events.front().event, events.front().node));
    return body;
  }
  const bool cloud_events = format == PushFormat::kCloudEvents;
  Json all = Json::array();
  for (const NodeEvent& one : events) {
    absl::StatusOr<Json> json = cloud_events ? CloudEventJson(one) : EventJson(one);
    if (!json.ok()) return json.status();
    all.push_back(*std::move(json));
  }
  const bool structured = cloud_events && events.size() == 1;
  if (cloud_events) {
    body.content_type =
        absl::StrCat("application/cloudevents", structured ? "" : "-batch", "+json; charset=utf-8");
  }
  body.text = JsonText(structured ? all.front() : all);
  return body;
}

}  // namespace vmeventd::client
