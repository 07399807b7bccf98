#include "client/output/enum_names.h"

#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

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
  static const auto* const kNames =
      new std::map<v1::EventType, const char*>{{v1::EVENT_TYPE_GUEST_SHUTDOWN, "GUEST_DOWN"},
                                               {v1::EVENT_TYPE_POWERDOWN_REQUESTED, "POWERDOWN"},
                                               {v1::EVENT_TYPE_HIBERNATING, "HIBERNATE"},
                                               {v1::EVENT_TYPE_GUEST_PANICKED, "PANICKED"},
                                               {v1::EVENT_TYPE_WATCHDOG_EXPIRED, "WATCHDOG"},
                                               {v1::EVENT_TYPE_MEMORY_FAILURE, "MEM_FAIL"},
                                               {v1::EVENT_TYPE_MONITOR_LOST, "MON_LOST"},
                                               {v1::EVENT_TYPE_MONITOR_RESTORED, "MON_BACK"},
                                               {v1::EVENT_TYPE_INTENT_DECLARED, "INTENT"},
                                               {v1::EVENT_TYPE_INTENT_LATE, "TOO_LATE"},
                                               {v1::EVENT_TYPE_INTENT_ENDED, "INTENT_END"},
                                               {v1::EVENT_TYPE_STATE_CHANGED, "STATE"},
                                               {v1::EVENT_TYPE_PROBLEMS_CHANGED, "PROBLEMS"},
                                               {v1::EVENT_TYPE_PVSHUTDOWN_REQUESTED, "PVSHUTDOWN"}};
  const auto found = kNames->find(type);
  return found == kNames->end() ? ShortName(type) : found->second;
}

std::vector<std::string> EnumNames(const google::protobuf::EnumDescriptor& descriptor) {
  std::vector<std::string> names;
  for (int i = 1; i < descriptor.value_count(); ++i) {
    names.push_back(EnumName(descriptor, descriptor.value(i)->number()));
  }
  return names;
}

std::optional<int> ParseEnumName(const google::protobuf::EnumDescriptor& descriptor,
                                 absl::string_view name) {
  const absl::string_view prefix = PrefixOf(descriptor);
  const std::string upper = absl::StrReplaceAll(absl::AsciiStrToUpper(name), {{"-", "_"}});
  // Other words that people use for some values.
  static constexpr std::pair<absl::string_view, absl::string_view> kOthers[] = {
      {"EVENT_TYPE_END", "STOPPED"},
      {"EVENT_TYPE_ENDED", "STOPPED"},
      {"EVENT_TYPE_STOP", "STOPPED"},
      {"EVENT_TYPE_START", "STARTED"},
      {"EVENT_TYPE_INTENT_EXPIRED", "INTENT_ENDED"},
      {"EVENT_TYPE_INTENT_REPLACED", "INTENT_ENDED"},
      {"EVENT_TYPE_INTENT_WITHDRAWN", "INTENT_ENDED"},
      {"SHUTDOWN_CAUSE_OOM", "OUT_OF_MEMORY"},
      {"SHUTDOWN_CAUSE_PANIC", "GUEST_PANIC"}};
  std::string full = absl::StrCat(prefix, absl::StripPrefix(upper, prefix));
  for (const auto& [other, known] : kOthers) {
    if (full == other) full = absl::StrCat(prefix, known);
  }
  const auto* value = descriptor.FindValueByName(full);
  if (value != nullptr && value->number() != 0) return value->number();
  if (&descriptor == v1::EventType_descriptor()) {
    for (int type = 1; type <= v1::EventType_MAX; ++type) {  // 0 is unspecified
      if (TableName(static_cast<v1::EventType>(type)) == upper) return type;
    }
  }
  return std::nullopt;
}

std::string SubjectWord(absl::string_view name) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(name), {{"_", "-"}});
}

}  // namespace vmeventd::client
