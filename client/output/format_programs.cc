#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/output/event_text.h"
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

namespace {

// A JSON object that is put together; the first error is its result.
class JsonObject {
 public:
  // Adds the members of an object, which may have none.
  JsonObject& AddAll(const absl::StatusOr<std::string>& object) {
    status_.Update(object.status());
    if (object.ok() && *object != "{}") Append(object->substr(1, object->size() - 2));
    return *this;
  }
  JsonObject& Add(absl::string_view key, const absl::StatusOr<std::string>& value) {
    status_.Update(value.status());
    if (value.ok()) Append(absl::StrCat("\"", key, "\":", *value));
    return *this;
  }
  absl::StatusOr<std::string> Take() const {
    if (!status_.ok()) return status_;
    return absl::StrCat("{", members_, "}");
  }

 private:
  void Append(absl::string_view members) {
    absl::StrAppend(&members_, members_.empty() ? "" : ",", members);
  }

  absl::Status status_;
  std::string members_;
};

std::string NameLine(const std::string& name) {
  return absl::StrCat(EscapeForTerminal(name), "\n");
}

std::string LineOf(const MessageNode& node, const std::string& name) {
  if (node.name.empty()) return NameLine(name);
  const std::string cluster =
      node.cluster.empty() ? "" : absl::StrCat(EscapeForTerminal(node.cluster), "/");
  return absl::StrCat(cluster, EscapeForTerminal(node.name), "/", NameLine(name));
}

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

template <typename MakeJson>
absl::StatusOr<std::string> ProgramFormatter::Show(const std::string& line,
                                                   const MakeJson& make_json) const {
  if (form_ == Form::kName) return line;
  const absl::StatusOr<std::string> json = make_json();
  return json.ok() ? absl::StrCat(*json, "\n") : json;
}

absl::StatusOr<std::string> ProgramFormatter::FormatEvents(Events events) {
  return ShowEach(events, [this](const NodeEvent& one) {
    return Show(one.event.has_vm() ? LineOf(one.node, one.event.vm().name()) : "",
                [&] { return ToJson(one.event, one.node); });
  });
}

absl::StatusOr<std::string> ProgramFormatter::FormatVms(Vms vms) {
  return ShowEach(vms, [this](const NodeVm& one) {
    return Show(LineOf(one.node, one.vm.ref().name()), [&] {
      JsonObject json;
      json.AddAll(ToJson(one.vm, one.node));
      if (one.ends) json.Add("ends", absl::StrCat(*one.ends));
      if (one.ends.value_or(0) > 0) json.Add("last_end", ToJson(one.last_end));
      return json.Take();
    });
  });
}

absl::StatusOr<std::string> ProgramFormatter::FormatWhy(const VmStory& story) {
  return Show(LineOf(story.vm ? story.vm->node : story.end->node, story.name), [&] {
    JsonObject json;
    json.Add("name", JsonText(story.name));
    if (story.vm) json.Add("vm", ToJson(story.vm->vm, story.vm->node));
    if (story.end) json.Add("last_end", ToJson(story.end->event, story.end->node));
    nlohmann::ordered_json ends = nlohmann::ordered_json::object();
    for (const auto& [shutdown_class, count] : story.ends) ends[ShortName(shutdown_class)] = count;
    return json.Add("ends_in_24h", JsonText(ends)).Take();
  });
}

absl::StatusOr<std::string> ProgramFormatter::FormatIntent(const v1::Intent& intent) {
  return Show(NameLine(intent.intent_id()), [&] { return ToJson(intent); });
}

absl::StatusOr<std::string> ProgramFormatter::FormatIntents(Vms vms) {
  return ShowEach(vms, [this](const NodeVm& one) {
    return Show(NameLine(one.vm.intent().intent_id()), [&] {
      return JsonObject().Add("vm", ToJson(one.vm.ref())).AddAll(ToJson(one.vm.intent())).Take();
    });
  });
}

absl::StatusOr<std::string> ProgramFormatter::FormatInfo(const v1::GetServerInfoResponse& info) {
  return Show(NameLine(info.node()), [&] { return ToJson(info); });
}

absl::StatusOr<std::string> ProgramFormatter::FormatStreams(const Streams& streams) {
  return ShowEach(streams, [this](const v1::Stream& stream) {
    return Show(NameLine(stream.stream_id()), [&] { return ToJson(stream); });
  });
}

absl::StatusOr<std::string> ProgramFormatter::FormatHealth(absl::string_view service,
                                                           const Health& health) {
  const std::string name =
      service.empty() ? Health::ServingStatus_Name(health.status()) : std::string(service);
  return Show(NameLine(name), [&] {
    JsonObject json;
    if (!service.empty()) json.Add("service", JsonText(std::string(service)));
    return json.AddAll(ToJson(health)).Take();
  });
}

absl::StatusOr<std::string> ProgramFormatter::FormatFleet(const Heartbeats& nodes, absl::Time now) {
  return ShowEach(nodes, [&](const v1::NodeHeartbeat& node) {
    return Show(absl::StrCat(EscapeForTerminal(node.cluster()), "/", NameLine(node.node())), [&] {
      return JsonObject()
          .AddAll(ToJson(node))
          .Add("lag", absl::StrCat("\"", LagOf(node), "\""))
          .Add("state", JsonText(StateName(StateOf(node, now))))
          .Take();
    });
  });
}

}  // namespace vmeventd::client
