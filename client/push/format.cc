#include "client/push/format.h"

#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/nats/subject.h"
#include "base/utf8.h"
#include "client/output/enum_names.h"
#include "client/output/format_programs.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::pair<absl::string_view, PushFormat>, 4> kFormats = {
    {{"cloudevents", PushFormat::kCloudEvents},
     {"slack", PushFormat::kSlack},
     {"alertmanager", PushFormat::kAlertmanager},
     {"json", PushFormat::kJson}}};

constexpr int kMostOfSlack = 40;
constexpr size_t kMostSlackLine = 900;  // bytes, so that 40 stay below 40,000 characters
constexpr int kMostOfOthers = 1000;

std::string Text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string TimeOf(const v1::Event& event) {
  return absl::FormatTime(absl::RFC3339_full, FromProto(event.observe_time()), absl::UTCTimeZone());
}

absl::StatusOr<std::string> CloudEvent(const v1::Event& event, const MessageNode& node) {
  const absl::StatusOr<std::string> data = ToJson(event);
  if (!data.ok()) return data.status();
  Json json = {{"specversion", "1.0"},
               {"id", IdOf(event)},
               {"source", SourceOf(node)},
               {"type", absl::StrCat(kSubjectPrefix, ".", SubjectWords(event))}};
  if (!event.vm().name().empty()) json["subject"] = event.vm().name();
  json["time"] = TimeOf(event);
  json["datacontenttype"] = "application/json";
  const std::string attributes = Text(json);
  return absl::StrCat(absl::string_view(attributes).substr(0, attributes.size() - 1),
                      ",\"data\":", *data, "}");
}

std::string Place(const MessageNode& node) {
  if (node.name.empty()) return "the fleet";
  return absl::StrCat(node.cluster.empty() ? "" : absl::StrCat(node.cluster, "/"), node.name);
}

// "web1 on node7: STOPPED, CRASH (GUEST_PANIC): the guest's kernel panicked", or "node7: GAP: ...".
std::string Sentence(const v1::Event& event, const MessageNode& node) {
  std::string text = event.vm().name().empty()
                         ? Place(node)
                         : absl::StrCat(event.vm().name(), " on ", Place(node));
  absl::StrAppend(&text, ": ", ShortName(event.type()));
  if (event.has_shutdown()) {
    absl::StrAppend(&text, ", ", ClassWord(event.shutdown()), " (",
                    ShortName(event.shutdown().cause()), ")");
  }
  if (!event.message().empty()) absl::StrAppend(&text, ": ", event.message());
  return text;
}

// The line for Slack: what it takes for markup is escaped, and what is too long is cut.
std::string SlackLine(const v1::Event& event, const MessageNode& node) {
  const std::string raw = EscapeForTerminal(absl::StrCat(
      absl::FormatTime("%Y-%m-%d %H:%M:%SZ", FromProto(event.observe_time()), absl::UTCTimeZone()),
      " ", Sentence(event, node)));
  std::string line;
  for (size_t at = 0; at < raw.size();) {
    const size_t length = DecodeUtf8(absl::string_view(raw).substr(at)).length;
    const std::string character = absl::StrReplaceAll(
        absl::string_view(raw).substr(at, length), {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
    if (line.size() + character.size() > kMostSlackLine) return absl::StrCat(line, "…");
    line += character;
    at += length;
  }
  return line;
}

std::string SlackText(const EventRange& range) {
  std::vector<std::string> lines;
  for (int i = range.begin; i < range.end; ++i) {
    lines.push_back(SlackLine(range.event(i), range.node(i)));
  }
  const Json json = {{"text", absl::StrJoin(lines, "\n")},
                     {"mrkdwn", false},
                     {"unfurl_links", false},
                     {"unfurl_media", false}};
  return Text(json);
}

struct AlertName {
  const char* name;
  const char* severity;
};
constexpr AlertName kCrashed = {"VmCrashed", "critical"};
constexpr AlertName kUnexplained = {"VmEndedUnexplained", "warning"};
constexpr AlertName kMissing = {"VmEventsMissing", "warning"};

// Labels are what an alert is known by: they have nothing that its resolution would not know.
Json Alert(const AlertName& name, const v1::Event& event, const MessageNode& node) {
  Json labels = {{"alertname", name.name}, {"severity", name.severity}};
  if (!node.cluster.empty()) labels["cluster"] = EscapeForTerminal(node.cluster);
  if (!node.name.empty()) labels["node"] = EscapeForTerminal(node.name);
  if (!event.vm().name().empty()) labels["vm"] = EscapeForTerminal(event.vm().name());
  return {{"labels", std::move(labels)}};
}

Json Firing(const AlertName& name, const v1::Event& event, const MessageNode& node,
            absl::Duration alert_for) {
  Json alert = Alert(name, event, node);
  Json annotations = {{"summary", EscapeForTerminal(Sentence(event, node))},
                      {"event", EscapeForTerminal(absl::StrCat(SourceOf(node), "#", IdOf(event)))}};
  if (event.has_shutdown()) {
    annotations["class"] = ShortName(event.shutdown().class_());
    annotations["cause"] = ShortName(event.shutdown().cause());
  }
  if (!event.vm().uuid().empty()) annotations["uuid"] = EscapeForTerminal(event.vm().uuid());
  if (!event.vm().labels().empty()) {
    annotations["labels"] = EscapeForTerminal(LabelsText(event.vm()));
  }
  if (!event.vm().run_id().empty()) annotations["run_id"] = EscapeForTerminal(event.vm().run_id());
  alert["annotations"] = std::move(annotations);
  alert["startsAt"] = TimeOf(event);
  alert["endsAt"] = absl::FormatTime(
      absl::RFC3339_full, FromProto(event.observe_time()) + alert_for, absl::UTCTimeZone());
  return alert;
}

// Without startsAt the Alertmanager ends the alert that there is, and else makes one that is over.
Json Resolved(const AlertName& name, const v1::Event& event, const MessageNode& node) {
  Json alert = Alert(name, event, node);
  alert["endsAt"] = TimeOf(event);
  return alert;
}

std::string AlertmanagerText(const EventRange& range, absl::Duration alert_for) {
  Json alerts = Json::array();
  for (int i = range.begin; i < range.end; ++i) {
    const v1::Event& event = range.event(i);
    const MessageNode& node = range.node(i);
    if (event.type() == v1::EVENT_TYPE_GAP) {
      alerts.push_back(Firing(kMissing, event, node, alert_for));
    } else if (event.type() == v1::EVENT_TYPE_STARTED) {
      alerts.push_back(Resolved(kCrashed, event, node));
      alerts.push_back(Resolved(kUnexplained, event, node));
    } else if (event.shutdown().class_() == v1::SHUTDOWN_CLASS_CRASH) {
      alerts.push_back(Firing(kCrashed, event, node, alert_for));
    } else if (event.shutdown().class_() == v1::SHUTDOWN_CLASS_UNKNOWN) {
      alerts.push_back(Firing(kUnexplained, event, node, alert_for));
    }
  }
  return alerts.empty() ? "" : Text(alerts);
}

// `write` of each event, as a JSON array.
template <typename Write>
absl::StatusOr<std::string> ArrayOf(const EventRange& range, Write write) {
  std::vector<std::string> objects;
  for (int i = range.begin; i < range.end; ++i) {
    absl::StatusOr<std::string> object = write(range.event(i), range.node(i));
    if (!object.ok()) return object.status();
    objects.push_back(*std::move(object));
  }
  return absl::StrCat("[", absl::StrJoin(objects, ","), "]");
}

}  // namespace

absl::StatusOr<PushFormat> ParsePushFormat(absl::string_view name) {
  for (const auto& [text, format] : kFormats) {
    if (text == name) return format;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", name, "\" is not a format; use cloudevents, slack, alertmanager or json"));
}

absl::string_view NameOf(PushFormat format) {
  for (const auto& [text, one] : kFormats) {
    if (one == format) return text;
  }
  return "";
}

int MostEventsOf(PushFormat format) {
  return format == PushFormat::kSlack ? kMostOfSlack : kMostOfOthers;
}

std::string IdOf(const v1::Event& event) {
  return event.sequence() > 0 ? absl::StrCat(event.sequence())
                              : absl::StrCat("gap-after-", event.missing().first() - 1);
}

std::string SourceOf(const MessageNode& node) {
  return absl::StrCat("/vmevents/", EscapeToken(node.cluster), "/", EscapeToken(node.name), "/",
                      node.journal_id);
}

absl::StatusOr<std::string> PushJson(const v1::Event& event, const MessageNode& node) {
  const absl::StatusOr<std::string> json = ToJson(event, node);
  if (!json.ok()) return json.status();
  return absl::StrCat("{\"journal_id\":", Text(node.journal_id), ",",
                      absl::string_view(*json).substr(1));
}

absl::StatusOr<PushBody> BodyOf(PushFormat format, const EventRange& range,
                                absl::Duration alert_for) {
  constexpr char kJsonType[] = "application/json; charset=utf-8";
  switch (format) {
    case PushFormat::kSlack:
      return PushBody{kJsonType, SlackText(range)};
    case PushFormat::kAlertmanager:
      return PushBody{kJsonType, AlertmanagerText(range, alert_for)};
    case PushFormat::kJson:
    case PushFormat::kCloudEvents:
      break;
  }
  const bool alone = format == PushFormat::kCloudEvents && range.size() == 1;
  absl::StatusOr<std::string> text =
      alone ? CloudEvent(range.event(range.begin), range.node(range.begin))
            : ArrayOf(range, format == PushFormat::kJson ? PushJson : CloudEvent);
  if (!text.ok()) return text.status();
  if (format == PushFormat::kJson) return PushBody{kJsonType, *std::move(text)};
  return PushBody{alone ? "application/cloudevents+json; charset=utf-8"
                        : "application/cloudevents-batch+json; charset=utf-8",
                  *std::move(text)};
}

}  // namespace vmeventd::client
