#include "client/sinks/event_variables.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "client/output/enum_names.h"
#include "client/output/time_text.h"
#include "client/output/vm_text.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {

std::vector<std::pair<std::string, std::string>> EventVariables(const v1::Event& event,
                                                                const MessageNode& node) {
  const v1::ShutdownDetail& shutdown = event.shutdown();
  const v1::Intent& intent = event.has_intent() ? event.intent() : shutdown.intent();
  std::vector<std::pair<std::string, std::string>> variables = {
      {"VMEVENTS_TYPE", ShortName(event.type())},
      {"VMEVENTS_VM", event.vm().name()},
      {"VMEVENTS_RUN_ID", event.vm().run_id()},
      {"VMEVENTS_UUID", event.vm().uuid()},
      {"VMEVENTS_SOURCE", event.vm().source()},
      {"VMEVENTS_LABELS", LabelsText(event.vm())},
      {"VMEVENTS_UNIT", event.vm().unit()},
      {"VMEVENTS_PID", event.vm().pid() == 0 ? "" : absl::StrCat(event.vm().pid())},
      {"VMEVENTS_SEQUENCE", absl::StrCat(event.sequence())},
      {"VMEVENTS_TIME", Rfc3339Text(FromTimestamp(event.observe_time()))},
      {"VMEVENTS_STATE", event.state() == v1::VM_STATE_UNSPECIFIED ? "" : ShortName(event.state())},
      {"VMEVENTS_CLASS", event.has_shutdown() ? ShortName(shutdown.shutdown_class()) : ""},
      {"VMEVENTS_CAUSE", event.has_shutdown() ? ShortName(shutdown.cause()) : ""},
      {"VMEVENTS_RULE", shutdown.rule()},
      {"VMEVENTS_MAY_STILL_RUN", !event.has_shutdown()      ? ""
                                 : shutdown.may_still_run() ? "true"
                                                            : "false"},
      {"VMEVENTS_MESSAGE", event.message()},
      {"VMEVENTS_LAST_WORDS", absl::StrJoin(shutdown.last_words().lines(), "\n")},
      {"VMEVENTS_INTENT_ID", intent.intent_id()},
      {"VMEVENTS_ACTOR", intent.actor()},
      {"VMEVENTS_REASON", intent.reason()},
      {"VMEVENTS_DURABLE", event.durable() ? "true" : "false"},
      {"VMEVENTS_NODE", node.name},
      {"VMEVENTS_CLUSTER", node.cluster}};
  for (auto& [name, value] : variables) {
    // A variable ends at a NUL.
    value = absl::StrReplaceAll(value, {{absl::string_view("\0", 1), "\\x00"}});
  }
  return variables;
}

}  // namespace vmeventd::client
