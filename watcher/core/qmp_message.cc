#include "watcher/core/qmp_message.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "watcher/core/names.h"

namespace vmeventd {
namespace {

constexpr char kTruncatedMember[] = "_truncated";

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("not QMP: ", what));
}

struct Extent {
  int depth = 0;   // of the deepest nesting
  int values = 0;  // at least so many: each opens something or stands before a comma
};

// The extent of `line`, without building anything.
Extent Measure(absl::string_view line) {
  Extent extent;
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      extent.depth = std::max(extent.depth, ++depth);
      ++extent.values;
    } else if (c == '}' || c == ']') {
      --depth;
    } else if (c == ',') {
      ++extent.values;
    }
  }
  return extent;
}

// Makes bytes that are not UTF-8 readable: "\xNN", with its backslash escaped for JSON.
std::string RepairUtf8(absl::string_view line) {
  std::string escaped = EscapeNonUtf8(line);
  if (escaped.size() == line.size()) return escaped;
  std::string repaired;
  size_t at = 0;
  for (const char c : line) {
    // EscapeNonUtf8 turned exactly the bytes that differ here into four characters.
    if (escaped[at] == c) {
      repaired.push_back(c);
      ++at;
    } else {
      absl::StrAppend(&repaired, "\\", escaped.substr(at, 4));
      at += 4;
    }
  }
  return repaired;
}

const QmpObject* Member(const QmpObject& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(name);
  return it == object.end() ? nullptr : &*it;
}

std::optional<int64_t> IntegerMember(const QmpObject& object, const char* name) {
  const QmpObject* member = Member(object, name);
  if (member == nullptr || !member->is_number_integer()) return std::nullopt;
  return member->get<int64_t>();
}

std::string StringMember(const QmpObject& object, const char* name) {
  const QmpObject* member = Member(object, name);
  return member != nullptr && member->is_string() ? member->get<std::string>() : std::string();
}

QmpGreeting ParseGreeting(const QmpObject& body) {
  const QmpObject* version = Member(body, "version");
  const QmpObject* qemu = version == nullptr ? nullptr : Member(*version, "qemu");
  if (qemu == nullptr) return {};
  const auto major = IntegerMember(*qemu, "major");
  const auto minor = IntegerMember(*qemu, "minor");
  const auto micro = IntegerMember(*qemu, "micro");
  if (!major || !minor || !micro) return {};
  return {absl::StrCat(*major, ".", *minor, ".", *micro)};
}

std::optional<absl::Time> ParseTimestamp(const QmpObject& message) {
  const QmpObject* timestamp = Member(message, "timestamp");
  if (timestamp == nullptr) return std::nullopt;
  const auto seconds = IntegerMember(*timestamp, "seconds");
  const auto micros = IntegerMember(*timestamp, "microseconds");
  // {-1, -1}: QEMU could not read its clock. The upper bound is the year 9999, the last that a
  // protobuf Timestamp can hold.
  constexpr int64_t kLastSecond = 253402300799;
  if (!seconds || !micros || *seconds < 0 || *seconds > kLastSecond || *micros < 0 ||
      *micros > 999999) {
    return std::nullopt;
  }
  return absl::FromUnixSeconds(*seconds) + absl::Microseconds(*micros);
}

absl::StatusOr<QmpMessage> ParseEvent(const QmpObject& message, const QmpObject& name) {
  if (!name.is_string()) return Malformed("an event whose name is no string");
  QmpEvent event;
  event.name = name.get<std::string>();
  event.time = ParseTimestamp(message);
  if (const QmpObject* data = Member(message, "data"); data != nullptr) {
    if (!data->is_object()) return Malformed("an event whose data is no object");
    event.data = *data;
  }
  return event;
}

std::string Dump(const QmpObject& object) {
  return object.dump(-1, ' ', false, QmpObject::error_handler_t::replace);
}

}  // namespace

absl::StatusOr<QmpMessage> ParseQmpMessage(absl::string_view line) {
  const Extent extent = Measure(line);
  if (extent.depth > kMaxQmpDepth) {
    return Malformed(absl::StrCat("nested deeper than ", kMaxQmpDepth));
  }
  if (extent.values > kMaxQmpValues) {
    return Malformed(absl::StrCat("a line of more than ", kMaxQmpValues, " values"));
  }
  const std::string text = RepairUtf8(line);
  const QmpObject message = QmpObject::parse(text, nullptr, /*allow_exceptions=*/false);
  if (message.is_discarded()) return Malformed("a line that is not JSON");
  if (!message.is_object()) return Malformed("a line that is no JSON object");
  if (const QmpObject* name = Member(message, "event")) return ParseEvent(message, *name);
  if (const QmpObject* value = Member(message, "return")) return QmpReturn{*value};
  if (const QmpObject* error = Member(message, "error")) {
    return QmpError{StringMember(*error, "class"), StringMember(*error, "desc")};
  }
  if (const QmpObject* body = Member(message, "QMP")) return ParseGreeting(*body);
  return Malformed("an object that is no greeting, reply or event");
}

std::string DetailJson(const QmpEvent& event, size_t max_bytes) {
  if (!event.data.is_object()) return "";
  std::string whole = Dump(event.data);
  if (whole.size() <= max_bytes) return whole;
  std::string kept = absl::StrCat("{\"", kTruncatedMember, "\":true");
  for (const auto& [name, value] : event.data.items()) {
    if (name == kTruncatedMember) continue;
    const std::string member = absl::StrCat(",", Dump(name), ":", Dump(value));
    if (kept.size() + member.size() < max_bytes) kept += member;
  }
  return kept + "}";
}

}  // namespace vmeventd
