#include "client/output/enum_names.h"

#include <cstring>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "google/protobuf/descriptor.h"

namespace vmeventd::client {
namespace {

// "VM_STATE_", of its first value VM_STATE_UNSPECIFIED.
absl::string_view PrefixOf(const google::protobuf::EnumDescriptor& descriptor) {
  return absl::StripSuffix(descriptor.value(0)->name(), "UNSPECIFIED");
}

}  // namespace

std::string EnumName(const google::protobuf::EnumDescriptor& descriptor, int number) {
  const auto* value = descriptor.FindValueByNumber(number);
  if (value == nullptr) return absl::StrCat(number);
  return std::string(absl::StripPrefix(value->name(), PrefixOf(descriptor)));
}

std::string TableName(v1::EventType type) {
  switch (type) {
    case v1::EVENT_TYPE_GUEST_SHUTDOWN:
      return "GUEST_DOWN";
    case v1::EVENT_TYPE_POWERDOWN_REQUESTED:
      return "POWERDOWN";
    case v1::EVENT_TYPE_HIBERNATING:
      return "HIBERNATE";
    case v1::EVENT_TYPE_GUEST_PANICKED:
      return "PANICKED";
    case v1::EVENT_TYPE_WATCHDOG_EXPIRED:
      return "WATCHDOG";
    case v1::EVENT_TYPE_MEMORY_FAILURE:
      return "MEM_FAIL";
    case v1::EVENT_TYPE_MONITOR_LOST:
      return "MON_LOST";
    case v1::EVENT_TYPE_MONITOR_RESTORED:
      return "MON_BACK";
    case v1::EVENT_TYPE_INTENT_DECLARED:
      return "INTENT";
    case v1::EVENT_TYPE_INTENT_WITHDRAWN:
      return "INTENT_END";
    case v1::EVENT_TYPE_STATE_CHANGED:
      return "STATE";
    case v1::EVENT_TYPE_PROBLEMS_CHANGED:
      return "PROBLEMS";
    case v1::EVENT_TYPE_PVSHUTDOWN_REQUESTED:
      return "PVSHUTDOWN";
    default:
      return ShortName(type);
  }
}

std::vector<std::string> EnumNames(const google::protobuf::EnumDescriptor& descriptor) {
  std::vector<std::string> names;
  for (int i = 1; i < descriptor.value_count(); ++i) {
    names.push_back(EnumName(descriptor, descriptor.value(i)->number()));
  }
  return names;
}

absl::StatusOr<int> ParseEnumName(const google::protobuf::EnumDescriptor& descriptor,
                                  absl::string_view name) {
  const absl::string_view prefix = PrefixOf(descriptor);
  const std::string upper = absl::StrReplaceAll(absl::AsciiStrToUpper(name), {{"-", "_"}});
  const auto* value =
      descriptor.FindValueByName(absl::StrCat(prefix, absl::StripPrefix(upper, prefix)));
  if (value != nullptr && value->number() != 0) return value->number();
  // "VM state" of "VM_STATE_".
  const std::string noun = absl::StrReplaceAll(
      absl::AsciiStrToLower(absl::StripSuffix(prefix, "_")), {{"_", " "}, {"vm_", "VM "}});
  return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is not a known ", noun,
                                                 "; use one of ",
                                                 absl::StrJoin(EnumNames(descriptor), ", ")));
}

std::string ClassWord(const v1::ShutdownDetail& shutdown) {
  return ShortName(shutdown.shutdown_class()) + (shutdown.caveats_size() > 0 ? "?" : "");
}

std::string SubjectWord(absl::string_view name) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(name), {{"_", "-"}});
}

std::string SubjectWords(const v1::Event& event) {
  const auto word = [](const auto value, absl::string_view kind) {
    const std::string name = ShortName(value);
    return absl::ascii_isdigit(name[0]) ? absl::StrCat(kind, "-", name) : SubjectWord(name);
  };
  const v1::ShutdownClass shutdown_class = event.shutdown().shutdown_class();
  return absl::StrCat(word(event.type(), "type"),
                      shutdown_class == v1::SHUTDOWN_CLASS_UNSPECIFIED
                          ? ""
                          : absl::StrCat(".", word(shutdown_class, "class")));
}

std::string CauseWords(v1::ShutdownCause cause) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(ShortName(cause)), {{"_", " "}});
}

std::string SignalName(int signal) {
  const char* name = sigabbrev_np(signal);
  return name == nullptr ? absl::StrCat("signal ", signal) : absl::StrCat("SIG", name);
}

std::string LabelsText(const v1::VmRef& vm) {
  const std::map<std::string, std::string> labels(vm.labels().begin(), vm.labels().end());
  return absl::StrJoin(labels, ",", [](std::string* out, const auto& label) {
    absl::StrAppend(out, label.first, "=",
                    absl::StrReplaceAll(label.second, {{",", "\\,"}, {"\\", "\\\\"}}));
  });
}

}  // namespace vmeventd::client
