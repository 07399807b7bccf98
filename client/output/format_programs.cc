#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/text.h"
#include "client/output/enum_names.h"
#include "client/output/formatter.h"
#include "client/output/terminal_text.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {

absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message,
                                   const MessageNode& node) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) {
    return absl::InternalError(
        absl::StrCat("a ", message.GetDescriptor()->name(),
                     " of the server cannot be written as JSON: ", std::string(status.message())));
  }
  if (node.name.empty()) return json;
  return absl::StrCat(
      "{", node.cluster.empty() ? "" : absl::StrCat("\"cluster\":", JsonText(node.cluster), ","),
      "\"node\":", JsonText(node.name), node.stale_since ? ",\"stale\":true" : "",
      json == "{}" ? "" : ",", json.substr(1));
}

std::string JsonText(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string JsonFormatter::Show(const std::string& json) const {
  return yaml_ ? absl::StrCat("---\n", YamlOfJson(json)) : absl::StrCat(json, "\n");
}

absl::StatusOr<std::string> JsonFormatter::One(const google::protobuf::Message& message,
                                               const MessageNode& node) const {
  const absl::StatusOr<std::string> json = ToJson(message, node);
  if (!json.ok()) return json.status();
  return Show(*json);
}

namespace {

// The texts that `show` makes of each, one after another.
template <typename List, typename Show>
absl::StatusOr<std::string> ShowEach(const List& list, const Show& show) {
  std::string out;
  for (const auto& one : list) {
    absl::StatusOr<std::string> text = show(one);
    if (!text.ok()) return text;
    out += *text;
  }
  return out;
}

}  // namespace

absl::StatusOr<std::string> JsonFormatter::FormatEvents(Events events) {
  return ShowEach(events, [this](const NodeEvent& one) { return One(one.event, one.node); });
}

absl::StatusOr<std::string> JsonFormatter::FormatVms(Vms vms) {
  return ShowEach(vms, [this](const NodeVm& one) -> absl::StatusOr<std::string> {
    if (!one.ends) return this->One(one.vm, one.node);
    const absl::StatusOr<std::string> vm = ToJson(one.vm, one.node);
    const absl::StatusOr<std::string> end = ToJson(one.last_end);
    if (!vm.ok()) return vm.status();
    if (!end.ok()) return end.status();
    return Show(absl::StrCat(vm->substr(0, vm->size() - 1), ",\"ends\":", *one.ends,
                             *one.ends > 0 ? absl::StrCat(",\"last_end\":", *end) : "", "}"));
  });
}

absl::StatusOr<std::string> JsonFormatter::FormatWhy(const VmStory& story) {
  std::string json = absl::StrCat("{\"name\":", JsonText(story.name));
  if (story.vm) {
    const absl::StatusOr<std::string> vm = ToJson(story.vm->vm, story.vm->node);
    if (!vm.ok()) return vm.status();
    absl::StrAppend(&json, ",\"vm\":", *vm);
  }
  if (story.end) {
    const absl::StatusOr<std::string> end = ToJson(story.end->event, story.end->node);
    if (!end.ok()) return end.status();
    absl::StrAppend(&json, ",\"last_end\":", *end);
  }
  nlohmann::ordered_json ends = nlohmann::ordered_json::object();
  for (const auto& [shutdown_class, count] : story.ends) ends[ShortName(shutdown_class)] = count;
  return Show(absl::StrCat(json, ",\"ends_in_24h\":", JsonText(ends), "}"));
}

absl::StatusOr<std::string> JsonFormatter::FormatIntents(Vms vms) {
  return ShowEach(vms, [this](const NodeVm& one) -> absl::StatusOr<std::string> {
    const absl::StatusOr<std::string> intent = ToJson(one.vm.intent());
    const absl::StatusOr<std::string> ref = ToJson(one.vm.ref());
    if (!intent.ok()) return intent.status();
    if (!ref.ok()) return ref.status();
    return Show(absl::StrCat("{\"vm\":", *ref, ",", intent->substr(1)));
  });
}

absl::StatusOr<std::string> JsonFormatter::FormatStreams(const Streams& streams) {
  return ShowEach(streams, [this](const v1::Stream& stream) -> absl::StatusOr<std::string> {
    const absl::StatusOr<std::string> json = ToJson(stream);
    if (!json.ok()) return json.status();
    return Show(*json);
  });
}

absl::StatusOr<std::string> JsonFormatter::FormatFleet(const Heartbeats& nodes, absl::Time now) {
  return ShowEach(nodes, [&](const v1::NodeHeartbeat& node) -> absl::StatusOr<std::string> {
    const absl::StatusOr<std::string> json = ToJson(node);
    if (!json.ok()) return json.status();
    return Show(absl::StrCat(json->substr(0, json->size() - 1), ",\"lag\":\"", LagOf(node),
                             "\",\"state\":\"", StateName(StateOf(node, now)), "\"}"));
  });
}

namespace {

using Json = nlohmann::ordered_json;

// Returns whether every YAML reader takes `text` for this text without quotes.
bool IsPlain(absl::string_view text) {
  // A word of letters first: no number, date, indicator or blank.
  if (text.empty() || !(absl::ascii_isalpha(text[0]) || text[0] == '/')) return false;
  const bool harmless = std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("_-./", c);
  });
  constexpr std::array kWords = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
  return harmless && std::none_of(kWords.begin(), kWords.end(), [text](const char* word) {
           return absl::EqualsIgnoreCase(text, word);
         });
}

std::string EscapeForYaml(uint32_t code_point) {
  if (code_point <= 0xFF) return absl::StrFormat("\\x%02x", code_point);
  if (code_point <= 0xFFFF) return absl::StrFormat("\\u%04x", code_point);
  return absl::StrFormat("\\U%08x", code_point);
}

// `text` is UTF-8, because it comes from JSON.
std::string Scalar(absl::string_view text) {
  if (IsPlain(text)) return std::string(text);
  std::string out = "\"";
  while (!text.empty()) {
    const Utf8Character character = DecodeUtf8(text);
    const size_t length = std::max<size_t>(character.length, 1);
    if (text[0] == '\n') {
      out += "\\n";
    } else if (text[0] == '"' || text[0] == '\\') {
      absl::StrAppend(&out, "\\", text.substr(0, 1));
    } else if (IsHiddenCharacter(character.code_point) || (character.code_point | 1) == 0xFFFF) {
      // YAML does not permit U+FFFE and U+FFFF as they are.
      out += EscapeForYaml(character.code_point);
    } else {
      absl::StrAppend(&out, text.substr(0, length));
    }
    text.remove_prefix(length);
  }
  return absl::StrCat(out, "\"");
}

std::string ScalarOf(const Json& value) {
  return value.is_string() ? Scalar(value.get_ref<const std::string&>()) : value.dump();
}

void Append(const Json& value, size_t indent, std::string* out);

// Appends the value after "key:" or "-": a scalar on the same line, or a block below it.
void AppendValue(const Json& value, size_t indent, std::string* out) {
  if (value.is_structured() && !value.empty()) {
    *out += '\n';
    Append(value, indent, out);
    return;
  }
  absl::StrAppend(out, " ", ScalarOf(value), "\n");
}

void Append(const Json& value, size_t indent, std::string* out) {
  const std::string margin(indent, ' ');
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, member] : value.items()) {
      absl::StrAppend(out, margin, Scalar(key), ":");
      AppendValue(member, indent + 2, out);
    }
  } else if (value.is_array() && !value.empty()) {
    for (const Json& element : value) {
      if (element.is_structured() && !element.empty()) {
        const size_t start = out->size();
        Append(element, indent + 2, out);
        (*out)[start + indent] = '-';
      } else {
        absl::StrAppend(out, margin, "-");
        AppendValue(element, indent + 2, out);
      }
    }
  } else {
    absl::StrAppend(out, margin, ScalarOf(value), "\n");
  }
}

}  // namespace

std::string YamlOfJson(absl::string_view json) {
  std::string out;
  Append(Json::parse(json), 0, &out);
  return out;
}

namespace {

std::string NameLine(const std::string& name) {
  return absl::StrCat(EscapeForTerminal(name), "\n");
}

std::string LineOf(const MessageNode& node, const std::string& name) {
  if (node.name.empty()) return NameLine(name);
  const std::string cluster =
      node.cluster.empty() ? "" : absl::StrCat(EscapeForTerminal(node.cluster), "/");
  return absl::StrCat(cluster, EscapeForTerminal(node.name), "/", NameLine(name));
}

}  // namespace

absl::StatusOr<std::string> NameFormatter::FormatEvents(Events events) {
  return ShowEach(events, [](const NodeEvent& one) {
    return one.event.has_vm() ? LineOf(one.node, one.event.vm().name()) : "";
  });
}

absl::StatusOr<std::string> NameFormatter::FormatVms(Vms vms) {
  return ShowEach(vms, [](const NodeVm& vm) { return LineOf(vm.node, vm.vm.ref().name()); });
}

absl::StatusOr<std::string> NameFormatter::FormatWhy(const VmStory& story) {
  return LineOf(story.vm ? story.vm->node : story.end->node, story.name);
}
absl::StatusOr<std::string> NameFormatter::FormatIntent(const v1::Intent& intent) {
  return NameLine(intent.intent_id());
}
absl::StatusOr<std::string> NameFormatter::FormatIntents(Vms vms) {
  return ShowEach(vms, [](const NodeVm& vm) { return NameLine(vm.vm.intent().intent_id()); });
}
absl::StatusOr<std::string> NameFormatter::FormatInfo(const v1::GetServerInfoResponse& info) {
  return NameLine(info.node());
}
absl::StatusOr<std::string> NameFormatter::FormatStreams(const Streams& streams) {
  return ShowEach(streams, [](const v1::Stream& stream) { return NameLine(stream.stream_id()); });
}
absl::StatusOr<std::string> JsonFormatter::FormatHealth(absl::string_view service,
                                                        const Health& health) {
  const absl::StatusOr<std::string> json = ToJson(health);
  if (!json.ok() || service.empty()) return json.ok() ? Show(*json) : json;
  return Show(absl::StrCat("{\"service\":\"", service, "\",", json->substr(1)));
}

absl::StatusOr<std::string> NameFormatter::FormatHealth(absl::string_view service,
                                                        const Health& health) {
  if (!service.empty()) return NameLine(std::string(service));
  return NameLine(Health::ServingStatus_Name(health.status()));
}
absl::StatusOr<std::string> NameFormatter::FormatFleet(const Heartbeats& nodes,
                                                       absl::Time /*now*/) {
  return ShowEach(nodes, [](const v1::NodeHeartbeat& node) {
    return absl::StrCat(EscapeForTerminal(node.cluster()), "/", NameLine(node.node()));
  });
}

}  // namespace vmeventd::client
