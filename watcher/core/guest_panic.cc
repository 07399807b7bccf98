#include "watcher/core/guest_panic.h"

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "watcher/core/names.h"

namespace vmeventd {
namespace {

constexpr std::array<const char*, 5> kHyperVArguments = {"arg1", "arg2", "arg3", "arg4", "arg5"};

std::optional<uint64_t> Number(const QmpObject& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<uint64_t>();
}

// 0 for one that does not fit.
uint32_t Number32(const QmpObject& object, const char* name) {
  const uint64_t number = Number(object, name).value_or(0);
  return number <= std::numeric_limits<uint32_t>::max() ? static_cast<uint32_t>(number) : 0;
}

std::string Text(const QmpObject& object, const char* name, size_t max_bytes) {
  return std::string(Utf8Prefix(OneLine(QmpText(object, name)), max_bytes));
}

}  // namespace

GuestPanic ParseGuestPanic(const QmpObject& data) {
  GuestPanic panic;
  panic.action = Text(data, "action", kMaxPanicReasonBytes);
  if (!data.is_object()) return panic;
  const auto found = data.find("info");
  if (found == data.end() || !found->is_object()) return panic;
  const QmpObject& info = *found;
  const std::string type = QmpText(info, "type");
  if (type == "hyper-v") {
    HyperVPanic hyper_v;
    for (size_t i = 0; i < kHyperVArguments.size(); ++i) {
      hyper_v.args[i] = Number(info, kHyperVArguments[i]).value_or(0);
    }
    panic.info = hyper_v;
  } else if (type == "s390") {
    panic.info = S390Panic{.core = Number32(info, "core"),
                           .psw_mask = Number(info, "psw-mask").value_or(0),
                           .psw_addr = Number(info, "psw-addr").value_or(0),
                           .reason = Text(info, "reason", kMaxPanicReasonBytes)};
  } else if (type == "tdx") {
    panic.info = TdxPanic{.error_code = Number32(info, "error-code"),
                          .message = Text(info, "message", kMaxPanicMessageBytes),
                          .gpa = Number(info, "gpa")};
  }
  return panic;
}

std::string DescribePanic(const GuestPanic& panic) {
  if (const auto* hyper_v = std::get_if<HyperVPanic>(&panic.info)) {
    std::string text = "Hyper-V";
    for (const uint64_t argument : hyper_v->args) absl::StrAppendFormat(&text, " 0x%x", argument);
    return text;
  }
  if (const auto* s390 = std::get_if<S390Panic>(&panic.info)) {
    return absl::StrFormat("s390 core %u, PSW 0x%x 0x%x, %s", s390->core, s390->psw_mask,
                           s390->psw_addr, s390->reason);
  }
  if (const auto* tdx = std::get_if<TdxPanic>(&panic.info)) {
    std::string text = absl::StrFormat("TDX error 0x%x", tdx->error_code);
    if (tdx->gpa.has_value()) absl::StrAppendFormat(&text, ", more at 0x%x", *tdx->gpa);
    return absl::StrCat(text, ", \"", tdx->message, "\"");
  }
  return "";
}

}  // namespace vmeventd
