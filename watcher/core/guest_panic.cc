#include "watcher/core/guest_panic.h"

#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vmeventd {
namespace {

// Returns the number in member `name`; 0: there is none, or it does not fit.
uint32_t Number32(const QmpObject& object, const char* name) {
  const uint64_t number = QmpNumber(object, name).value_or(0);
  return number <= std::numeric_limits<uint32_t>::max() ? static_cast<uint32_t>(number) : 0;
}

}  // namespace

v1::GuestPanic ParseGuestPanic(const QmpObject& data) {
  v1::GuestPanic panic;
  panic.set_action(QmpLine(data, "action", kMaxPanicReasonBytes));
  const QmpObject* const found = QmpMember(data, "info");
  if (found == nullptr) return panic;
  const QmpObject& info = *found;
  const std::string type = QmpText(info, "type");
  if (type == "hyper-v") {
    for (const char* const name : {"arg1", "arg2", "arg3", "arg4", "arg5"}) {
      panic.mutable_hyper_v()->add_args(QmpNumber(info, name).value_or(0));
    }
  } else if (type == "s390") {
    v1::S390Panic* const s390 = panic.mutable_s390();
    s390->set_core(Number32(info, "core"));
    s390->set_psw_mask(QmpNumber(info, "psw-mask").value_or(0));
    s390->set_psw_addr(QmpNumber(info, "psw-addr").value_or(0));
    s390->set_reason(QmpLine(info, "reason", kMaxPanicReasonBytes));
  } else if (type == "tdx") {
    v1::TdxPanic* const tdx = panic.mutable_tdx();
    tdx->set_error_code(Number32(info, "error-code"));
    tdx->set_message(QmpLine(info, "message", kMaxPanicMessageBytes));
    if (const auto gpa = QmpNumber(info, "gpa"); gpa.has_value()) tdx->set_gpa(*gpa);
  }
  return panic;
}

std::string DescribePanic(const v1::GuestPanic& panic) {
  if (panic.has_hyper_v()) {
    std::string text = "Hyper-V";
    for (const uint64_t argument : panic.hyper_v().args()) {
      absl::StrAppendFormat(&text, " 0x%x", argument);
    }
    return text;
  }
  if (panic.has_s390()) {
    const v1::S390Panic& s390 = panic.s390();
    return absl::StrFormat("s390 core %u, PSW 0x%x 0x%x, %s", s390.core(), s390.psw_mask(),
                           s390.psw_addr(), s390.reason());
  }
  if (panic.has_tdx()) {
    const v1::TdxPanic& tdx = panic.tdx();
    std::string text = absl::StrFormat("TDX error 0x%x", tdx.error_code());
    if (tdx.has_gpa()) absl::StrAppendFormat(&text, ", more at 0x%x", tdx.gpa());
    return absl::StrCat(text, ", \"", tdx.message(), "\"");
  }
  return "";
}

}  // namespace vmeventd
