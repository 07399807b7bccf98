#include "watcher/core/qmp_message.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "watcher/core/foreign_text.h"

namespace vmeventd {
namespace {

constexpr char kTruncatedMember[] = "_truncated";

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("not QMP: ", what));
}

struct Extent {
  int depth = 0;           // the deepest nesting
  int values = 0;          // lower bound: each opens something or stands before a comma
  int open = 0;            // brackets that it opens and does not close; negative: closes more
  bool in_string = false;  // it ends within a string
};

// The extent of `line`, without building anything.
Extent Measure(absl::string_view line) {
  Extent extent;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (extent.in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        extent.in_string = false;
      }
    } else if (c == '"') {
      extent.in_string = true;
    } else if (c == '{' || c == '[') {
      extent.depth = std::max(extent.depth, ++extent.open);
      ++extent.values;
    } else if (c == '}' || c == ']') {
      --extent.open;
    } else if (c == ',') {
      ++extent.values;
    }
  }
  return extent;
}

const QmpObject* Member(const QmpObject& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(name);
  return it == object.end() ? nullptr : &*it;
}

std::optional<uint64_t> Number(const QmpObject& object, const char* name) {
  const QmpObject* const member = Member(object, name);
  if (member == nullptr || !member->is_number_unsigned()) return std::nullopt;
  return member->get<uint64_t>();
}

QmpGreeting ParseGreeting(const QmpObject& body) {
  const QmpObject* version = Member(body, "version");
  const QmpObject* qemu = version == nullptr ? nullptr : Member(*version, "qemu");
  if (qemu == nullptr) return {};
  const auto major = Number(*qemu, "major");
  const auto minor = Number(*qemu, "minor");
  const auto micro = Number(*qemu, "micro");
  if (!major || !minor || !micro) return {};
  return {absl::StrCat(*major, ".", *minor, ".", *micro)};
}

std::optional<absl::Time> ParseTimestamp(const QmpObject& message) {
  const QmpObject* timestamp = Member(message, "timestamp");
  if (timestamp == nullptr) return std::nullopt;
  const auto seconds = Number(*timestamp, "seconds");
  const auto micros = Number(*timestamp, "microseconds");
  // {-1, -1}: QEMU could not read its clock. The upper bound is the year 9999, the last that a
  // protobuf Timestamp can hold.
  constexpr uint64_t kLastSecond = 253402300799;
  if (!seconds || *seconds > kLastSecond || !micros || *micros > 999999) return std::nullopt;
  return absl::FromUnixSeconds(static_cast<int64_t>(*seconds)) + absl::Microseconds(*micros);
}

absl::StatusOr<QmpMessage> ParseEvent(QmpObject message) {
  const QmpObject& name = message["event"];
  if (!name.is_string()) return Malformed("an event whose name is no string");
  QmpEvent event;
  event.name = name.get<std::string>();
  event.time = ParseTimestamp(message);
  if (const auto data = message.find("data"); data != message.end()) {
    if (!data->is_object()) return Malformed("an event whose data is no object");
    event.data = std::move(*data);
    event.detail_json = DetailJson(event.data, kMaxDetailBytes);
  }
  return event;
}

// Returns the number in member `name`; 0: there is none, or it does not fit.
uint32_t Number32(const QmpObject& object, const char* name) {
  const uint64_t number = Number(object, name).value_or(0);
  return number <= std::numeric_limits<uint32_t>::max() ? static_cast<uint32_t>(number) : 0;
}

}  // namespace

int LineFramer::OpenAfter(absl::string_view line) const {
  const bool first = partial_.counted == 0;
  if (first && (!absl::StartsWith(line, "{") || absl::EndsWith(line, "}"))) return 0;
  const Extent extent = Measure(line.substr(partial_.counted));
  // No string of JSON has a line end: the parser says so.
  if (extent.in_string) return 0;
  return std::max(extent.open + partial_.open, 0);
}

absl::Status LineFramer::Feed(absl::string_view bytes,
                              const std::function<absl::Status(absl::string_view)>& on_line) {
  while (true) {
    const size_t end = bytes.find('\n');
    const absl::string_view piece = bytes.substr(0, end);
    if (partial_.text.size() + piece.size() > kMaxLineBytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("a line of more than ", kMaxLineBytes >> 20, " MiB"));
    }
    absl::string_view line = piece;
    if (end == absl::string_view::npos || !partial_.text.empty()) {
      line = partial_.text.append(piece.data(), piece.size());
    }
    if (end == absl::string_view::npos) return absl::OkStatus();
    if (absl::EndsWith(line, "\r")) line.remove_suffix(1);
    if (const int open = OpenAfter(line); open > 0) {
      if (partial_.text.empty()) partial_.text = std::string(piece);
      partial_.text += '\n';
      partial_.counted = partial_.text.size();
      partial_.open = open;
    } else {
      if (!line.empty()) {
        if (absl::Status status = on_line(line); !status.ok()) return status;
      }
      std::exchange(partial_, {});  // an idle monitor holds no buffer
    }
    bytes.remove_prefix(end + 1);
  }
}

absl::StatusOr<QmpMessage> ParseQmpMessage(absl::string_view line) {
  const Extent extent = Measure(line);
  if (extent.depth > kMaxQmpDepth) {
    return Malformed(absl::StrCat("nested deeper than ", kMaxQmpDepth));
  }
  if (extent.values > kMaxQmpValues) {
    return Malformed(absl::StrCat("a line of more than ", kMaxQmpValues, " values"));
  }
  // Within JSON the backslash of "\xNN" is escaped.
  const std::string text = EscapeNonUtf8(line, R"(\\x)");
  QmpObject message = QmpObject::parse(text, nullptr, /*allow_exceptions=*/false);
  if (message.is_discarded() && absl::StrContains(line, " monitor - type 'help'")) {
    return Malformed("a human monitor, of -monitor; QMP is that of -qmp or mode=control");
  }
  if (message.is_discarded()) return Malformed("a line that is not JSON");
  if (!message.is_object()) return Malformed("a line that is no JSON object");
  if (message.contains("event")) return ParseEvent(std::move(message));
  if (message.contains("return")) return QmpReturn{std::move(message["return"])};
  if (const QmpObject* const error = Member(message, "error")) {
    return QmpReturn{.command_not_found = QmpText(*error, "class") == "CommandNotFound"};
  }
  if (const QmpObject* body = Member(message, "QMP")) return ParseGreeting(*body);
  return Malformed("an object that is no greeting, reply or event");
}

std::string DetailJson(const QmpObject& data, size_t max_bytes) {
  std::string whole = data.dump();
  if (whole.size() <= max_bytes) return whole;
  std::string detail = absl::StrCat("{\"", kTruncatedMember, "\":true");
  for (const auto& [name, value] : data.items()) {
    const std::string member = absl::StrCat(",", QmpObject(name).dump(), ":", value.dump());
    // One byte stays for the bracket.
    if (name != kTruncatedMember && detail.size() + member.size() < max_bytes) detail += member;
  }
  return detail + "}";
}

std::string QmpText(const QmpObject& object, const char* name) {
  const QmpObject* const member = Member(object, name);
  if (member == nullptr || !member->is_string()) return "";
  return std::string(Utf8Prefix(member->get_ref<const std::string&>(), kMaxQmpTextBytes));
}

std::string QmpLine(const QmpObject& object, const char* name, size_t max_bytes) {
  return std::string(Utf8Prefix(OneLine(QmpText(object, name)), max_bytes));
}

std::optional<bool> QmpBool(const QmpObject& object, const char* name) {
  const QmpObject* const member = Member(object, name);
  return member != nullptr && member->is_boolean() ? std::optional(member->get<bool>())
                                                   : std::nullopt;
}

v1::GuestPanic ParseGuestPanic(const QmpObject& data) {
  v1::GuestPanic panic;
  panic.set_action(QmpLine(data, "action", kMaxPanicReasonBytes));
  const QmpObject* const found = Member(data, "info");
  if (found == nullptr) return panic;
  const QmpObject& info = *found;
  const std::string type = QmpText(info, "type");
  if (type == "hyper-v") {
    for (const char* const name : {"arg1", "arg2", "arg3", "arg4", "arg5"}) {
      panic.mutable_hyper_v()->add_args(Number(info, name).value_or(0));
    }
  } else if (type == "s390") {
    v1::S390Panic* const s390 = panic.mutable_s390();
    s390->set_core(Number32(info, "core"));
    s390->set_psw_mask(Number(info, "psw-mask").value_or(0));
    s390->set_psw_addr(Number(info, "psw-addr").value_or(0));
    s390->set_reason(QmpLine(info, "reason", kMaxPanicReasonBytes));
  } else if (type == "tdx") {
    v1::TdxPanic* const tdx = panic.mutable_tdx();
    tdx->set_error_code(Number32(info, "error-code"));
    tdx->set_message(QmpLine(info, "message", kMaxPanicMessageBytes));
    if (const auto gpa = Number(info, "gpa"); gpa.has_value()) tdx->set_gpa(*gpa);
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
