#include "client/cli/values.h"

#include <map>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/spelling.h"
#include "client/connect/known_services.h"
#include "client/output/enum_names.h"
#include "google/protobuf/descriptor.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd::client {
namespace {

// "guest-down" for VM_STATE_GUEST_DOWN.
std::vector<std::string> NamesOf(const google::protobuf::EnumDescriptor* descriptor) {
  std::vector<std::string> names = EnumNames(*descriptor);
  for (std::string& name : names) name = SubjectWord(name);
  return names;
}

std::vector<std::string> ServiceNames() {
  std::vector<std::string> names = {v1::VmEventService::service_full_name()};
  for (const auto& [name, why] : KnownServices({})) {
    if (!name.empty()) names.push_back(name);
  }
  return names;
}

}  // namespace

std::vector<std::string> ValuesOf(const std::string& value_name) {
  static const auto* const kValues = new std::map<std::string, std::vector<std::string>>{
      {"FORMAT", {"table", "wide", "json", "jsonl", "name", "csv"}},
      {"KIND", {"cloudevents", "json"}},
      {"WHEN", {"auto", "always", "never"}},
      {"ACTION", {"stop", "retry", "skip"}},
      {"ORDER", {"state", "name", "age", "ends", "class", "trouble"}},
      {"KEY", {"who", "vm", "class", "cause", "type", "day", "hour", "minute", "node"}},
      {"START", {"now", "oldest", "snapshot"}},
      {"TIME", {"today", "yesterday", "midnight", "noon", "boot", "monday"}},
      {"SERVICE", ServiceNames()},
      {"SHELL", {"bash", "zsh", "fish"}},
      {"CLASS", NamesOf(v1::ShutdownClass_descriptor())},
      {"CAUSE", NamesOf(v1::ShutdownCause_descriptor())},
      {"TYPE", NamesOf(v1::EventType_descriptor())},
      {"STATE", NamesOf(v1::VmState_descriptor())}};
  const auto found = kValues->find(value_name);
  return found == kValues->end() ? std::vector<std::string>() : found->second;
}

std::string HintForValue(const std::string& value_name, absl::string_view typed) {
  std::string word = absl::AsciiStrToLower(typed.substr(0, typed.find('=')));
  absl::c_replace_if(
      word, [](char c) { return c == '_' || c == ' '; }, '-');
  const std::vector<std::string> values = ValuesOf(value_name);
  const std::string nearest =
      absl::c_linear_search(values, word) ? word : NearestName(word, values);
  if (!nearest.empty()) return DidYouMean({nearest});
  std::vector<absl::string_view> others;
  for (const char* other : {"TYPE", "CLASS", "CAUSE", "STATE"}) {
    if (absl::c_linear_search(ValuesOf(other), word)) others.emplace_back(other);
  }
  if (others.empty()) return "";
  return absl::StrCat("; it is a ", absl::AsciiStrToLower(absl::StrJoin(others, " and a ")));
}

}  // namespace vmeventd::client
