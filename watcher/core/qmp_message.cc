#include "watcher/core/qmp_message.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/json_extent.h"

namespace vmeventd {
namespace {

constexpr char kTruncatedMember[] = "_truncated";

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("not QMP: ", what));
}

QmpGreeting ParseGreeting(const QmpObject& body) {
  const QmpObject* version = QmpMember(body, "version");
  const QmpObject* qemu = version == nullptr ? nullptr : QmpMember(*version, "qemu");
  if (qemu == nullptr) return {};
  const auto major = QmpNumber(*qemu, "major");
  const auto minor = QmpNumber(*qemu, "minor");
  const auto micro = QmpNumber(*qemu, "micro");
  if (!major || !minor || !micro) return {};
  return {absl::StrCat(*major, ".", *minor, ".", *micro)};
}

std::optional<absl::Time> ParseTimestamp(const QmpObject& message) {
  const QmpObject* timestamp = QmpMember(message, "timestamp");
  if (timestamp == nullptr) return std::nullopt;
  const auto seconds = QmpNumber(*timestamp, "seconds");
  const auto micros = QmpNumber(*timestamp, "microseconds");
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

}  // namespace

absl::StatusOr<QmpMessage> ParseQmpMessage(absl::string_view line) {
  const JsonExtent extent = MeasureJson(line);
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
  if (const QmpObject* const error = QmpMember(message, "error")) {
    return QmpReturn{.command_not_found = QmpText(*error, "class") == "CommandNotFound"};
  }
  if (const QmpObject* body = QmpMember(message, "QMP")) return ParseGreeting(*body);
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

const QmpObject* QmpMember(const QmpObject& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(name);
  return it == object.end() ? nullptr : &*it;
}

std::optional<uint64_t> QmpNumber(const QmpObject& object, const char* name) {
  const QmpObject* const member = QmpMember(object, name);
  if (member == nullptr || !member->is_number_unsigned()) return std::nullopt;
  return member->get<uint64_t>();
}

std::string QmpText(const QmpObject& object, const char* name) {
  const QmpObject* const member = QmpMember(object, name);
  if (member == nullptr || !member->is_string()) return "";
  return std::string(Utf8Prefix(member->get_ref<const std::string&>(), kMaxQmpTextBytes));
}

std::string QmpLine(const QmpObject& object, const char* name, size_t max_bytes) {
  return std::string(Utf8Prefix(OneLine(QmpText(object, name)), max_bytes));
}

std::optional<bool> QmpBool(const QmpObject& object, const char* name) {
  const QmpObject* const member = QmpMember(object, name);
  return member != nullptr && member->is_boolean() ? std::optional(member->get<bool>())
                                                   : std::nullopt;
}

}  // namespace vmeventd
