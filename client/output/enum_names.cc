#include "client/output/enum_names.h"

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

// The names of an enum of the contract: its values' prefix, and the noun for people.
struct EnumText {
  absl::string_view prefix;
  absl::string_view noun;
};
constexpr EnumText kTypeText = {"EVENT_TYPE_", "event type"};
constexpr EnumText kClassText = {"SHUTDOWN_CLASS_", "shutdown class"};
constexpr EnumText kCauseText = {"SHUTDOWN_CAUSE_", "shutdown cause"};
constexpr EnumText kStateText = {"VM_STATE_", "VM state"};

std::string Short(const std::string& full, const EnumText& text) {
  return std::string(absl::StripPrefix(full, text.prefix));
}

std::string ShortNameOf(const google::protobuf::EnumDescriptor& descriptor, int number,
                        const EnumText& text) {
  const auto* value = descriptor.FindValueByNumber(number);
  return value == nullptr ? absl::StrCat(number) : Short(value->name(), text);
}

absl::StatusOr<int> ParseName(const google::protobuf::EnumDescriptor& descriptor,
                              absl::string_view name, const EnumText& text) {
  const std::string wanted = absl::StrReplaceAll(absl::AsciiStrToUpper(name), {{"-", "_"}});
  std::vector<std::string> known;
  for (int i = 0; i < descriptor.value_count(); ++i) {
    const auto* value = descriptor.value(i);
    if (value->number() == 0) continue;
    known.push_back(Short(value->name(), text));
    if (wanted == known.back() || wanted == value->name()) return value->number();
  }
  return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is not a known ", text.noun,
                                                 "; use one of ", absl::StrJoin(known, ", ")));
}

}  // namespace

absl::StatusOr<v1::EventType> ParseEventType(absl::string_view name) {
  const absl::StatusOr<int> number = ParseName(*v1::EventType_descriptor(), name, kTypeText);
  if (!number.ok()) return number.status();
  return static_cast<v1::EventType>(*number);
}

absl::StatusOr<v1::ShutdownClass> ParseShutdownClass(absl::string_view name) {
  const absl::StatusOr<int> number = ParseName(*v1::ShutdownClass_descriptor(), name, kClassText);
  if (!number.ok()) return number.status();
  return static_cast<v1::ShutdownClass>(*number);
}

absl::StatusOr<v1::ShutdownCause> ParseShutdownCause(absl::string_view name) {
  const absl::StatusOr<int> number = ParseName(*v1::ShutdownCause_descriptor(), name, kCauseText);
  if (!number.ok()) return number.status();
  return static_cast<v1::ShutdownCause>(*number);
}

absl::StatusOr<v1::VmState> ParseVmState(absl::string_view name) {
  const absl::StatusOr<int> number = ParseName(*v1::VmState_descriptor(), name, kStateText);
  if (!number.ok()) return number.status();
  return static_cast<v1::VmState>(*number);
}

std::string ShortName(v1::EventType type) {
  return ShortNameOf(*v1::EventType_descriptor(), type, kTypeText);
}
std::string ShortName(v1::ShutdownClass shutdown_class) {
  return ShortNameOf(*v1::ShutdownClass_descriptor(), shutdown_class, kClassText);
}
std::string ClassWord(const v1::ShutdownDetail& shutdown) {
  return ShortName(shutdown.class_()) + (shutdown.caveats_size() > 0 ? "?" : "");
}
std::string ShortName(v1::ShutdownCause cause) {
  return ShortNameOf(*v1::ShutdownCause_descriptor(), cause, kCauseText);
}
std::string ShortName(v1::VmState state) {
  return ShortNameOf(*v1::VmState_descriptor(), state, kStateText);
}

std::string SubjectWord(absl::string_view name) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(name), {{"_", "-"}});
}

std::string SubjectWords(const v1::Event& event) {
  const auto word = [](const auto value, absl::string_view kind) {
    const std::string name = ShortName(value);
    return absl::ascii_isdigit(name[0]) ? absl::StrCat(kind, "-", name) : SubjectWord(name);
  };
  const v1::ShutdownClass shutdown_class = event.shutdown().class_();
  return absl::StrCat(word(event.type(), "type"),
                      shutdown_class == v1::SHUTDOWN_CLASS_UNSPECIFIED
                          ? ""
                          : absl::StrCat(".", word(shutdown_class, "class")));
}

std::string LabelsText(const v1::VmRef& vm) {
  const std::map<std::string, std::string> labels(vm.labels().begin(), vm.labels().end());
  return absl::StrJoin(labels, ",", [](std::string* out, const auto& label) {
    absl::StrAppend(out, label.first, "=",
                    absl::StrReplaceAll(label.second, {{",", "\\,"}, {"\\", "\\\\"}}));
  });
}

}  // namespace vmeventd::client
