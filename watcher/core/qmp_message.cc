#include "watcher/core/qmp_message.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "watcher/core/names.h"

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

// A line of more than that has its long strings cut before anything is built from it, so that no
// line takes long: what an event's data may have is far less.
constexpr size_t kLongLineBytes = 64 << 10;
constexpr size_t kMaxStringBytes = 8 << 10;
// Limit of all strings together; what comes then is cut shorter.
constexpr size_t kManyStringBytes = 256 << 10;
constexpr size_t kShortStringBytes = 64;

// `content` up to the run of backslashes that holds its last one.
absl::string_view BeforeLastEscape(absl::string_view content) {
  const size_t before = content.find_last_not_of('\\', content.rfind('\\'));
  return content.substr(0, before == absl::string_view::npos ? 0 : before + 1);
}

// `content` of a JSON string without what is beyond `max_bytes`, without an escape that would be
// cut in two, and without the first half of a pair of them that would lose its second.
absl::string_view CutString(absl::string_view content, size_t max_bytes) {
  constexpr size_t kEscape = 6;  // "\ud83d"
  if (content.size() <= max_bytes) return content;
  content = content.substr(0, max_bytes);
  const size_t last = content.rfind('\\');
  if (last != absl::string_view::npos && content.size() - last <= kEscape) {
    content = BeforeLastEscape(content);
  }
  while (content.size() >= kEscape) {
    const std::string end = absl::AsciiStrToLower(content.substr(content.size() - kEscape));
    if (!absl::StartsWith(end, "\\ud") || end[3] < '8' || end[3] > 'b') break;
    content = BeforeLastEscape(content);
  }
  return content;
}

std::string CutLongStrings(absl::string_view line) {
  std::string cut;
  while (true) {
    const size_t begin = line.find('"');
    if (begin == absl::string_view::npos) break;
    size_t end = begin + 1;
    while (end < line.size() && line[end] != '"') end += line[end] == '\\' ? 2 : 1;
    if (end >= line.size()) {  // no JSON: the parser says so
      line = line.substr(0, kMaxStringBytes);
      break;
    }
    cut.append(line.data(), begin + 1);
    const size_t max_bytes = cut.size() < kManyStringBytes ? kMaxStringBytes : kShortStringBytes;
    const absl::string_view content = CutString(line.substr(begin + 1, end - begin - 1), max_bytes);
    cut.append(content.data(), content.size());
    cut.push_back('"');
    line.remove_prefix(end + 1);
  }
  cut.append(line.data(), line.size());
  return cut;
}

// Makes bytes that are not UTF-8 readable: "\xNN", with its backslash escaped for JSON.
std::string RepairUtf8(absl::string_view line) {
  std::string escaped = EscapeNonUtf8(line);
  if (escaped.size() == line.size()) return escaped;
  std::string repaired;
  repaired.reserve(escaped.size() + (escaped.size() - line.size()) / 3);
  size_t at = 0;
  for (const char c : line) {
    // EscapeNonUtf8 turned exactly the bytes that differ here into four characters.
    if (escaped[at] == c) {
      repaired.push_back(c);
      ++at;
    } else {
      repaired.push_back('\\');
      repaired.append(escaped, at, 4);
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

std::optional<absl::Time> ToTime(int64_t seconds, int64_t micros) {
  // {-1, -1}: QEMU could not read its clock. The upper bound is the year 9999, the last that a
  // protobuf Timestamp can hold.
  constexpr int64_t kLastSecond = 253402300799;
  if (seconds < 0 || seconds > kLastSecond || micros < 0 || micros > 999999) return std::nullopt;
  return absl::FromUnixSeconds(seconds) + absl::Microseconds(micros);
}

std::optional<absl::Time> ParseTimestamp(const QmpObject& message) {
  const QmpObject* timestamp = Member(message, "timestamp");
  if (timestamp == nullptr) return std::nullopt;
  const auto seconds = IntegerMember(*timestamp, "seconds");
  const auto micros = IntegerMember(*timestamp, "microseconds");
  if (!seconds || !micros) return std::nullopt;
  return ToTime(*seconds, *micros);
}

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// Returns the place after the string of well-formed JSON whose quote is at `at`.
size_t AfterString(absl::string_view text, size_t at) {
  for (++at; text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return at + 1;
}

size_t AfterSpace(absl::string_view text, size_t at) {
  while (at < text.size() && IsSpace(text[at])) ++at;
  return at;
}

// Returns the place after the value that begins at `at`.
size_t AfterValue(absl::string_view text, size_t at) {
  int depth = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      at = AfterString(text, at);
      if (depth == 0) return at;
      continue;
    }
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') {
      if (depth == 0) return at;  // the end of the enclosing value
      if (--depth == 0) return at + 1;
    }
    if (depth == 0 && (c == ',' || IsSpace(c))) return at;
    ++at;
  }
  return at;
}

// Calls `use` with each member's name, in its quotes, and value, as they stand in the object.
template <typename Use>
void ForEachMember(absl::string_view object, Use use) {
  size_t at = AfterSpace(object, AfterSpace(object, 0) + 1);
  while (at < object.size() && object[at] == '"') {
    const size_t name_end = AfterString(object, at);
    const size_t value = AfterSpace(object, AfterSpace(object, name_end) + 1);  // after the colon
    const size_t value_end = AfterValue(object, value);
    use(object.substr(at, name_end - at), object.substr(value, value_end - value));
    at = AfterSpace(object, AfterSpace(object, value_end) + 1);  // after the comma
  }
}

// The last member `name` of a well-formed object, as it stands there; empty if there is none. Of
// members of one name the parser takes the last as well.
absl::string_view RawMember(absl::string_view object, absl::string_view name) {
  absl::string_view found;
  ForEachMember(object, [&](absl::string_view quoted, absl::string_view value) {
    const bool plain = quoted.find('\\') == absl::string_view::npos;
    const bool same = plain ? quoted.substr(1, quoted.size() - 2) == name
                            : QmpObject::parse(quoted.begin(), quoted.end()) == std::string(name);
    if (same) found = value;
  });
  return found;
}

// Appends `text` without the space between its tokens. False: `out` would be longer than
// `max_bytes`, and is not changed.
bool AppendCompact(absl::string_view text, size_t max_bytes, std::string* out) {
  const size_t before = out->size();
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    if (text[at] == '"') {
      end = AfterString(text, at);
    } else if (IsSpace(text[at])) {
      at = end;
      continue;
    }
    if (out->size() + (end - at) > max_bytes) {
      out->resize(before);
      return false;
    }
    out->append(text.data() + at, end - at);
    at = end;
  }
  return true;
}

// Takes the plain number that `text` begins with: digits, as JSON has them.
bool ConsumeNumber(absl::string_view* text, int64_t* number) {
  const size_t digits = std::min(text->find_first_not_of("0123456789"), text->size());
  if (digits > 1 && text->front() == '0') return false;
  if (!absl::SimpleAtoi(text->substr(0, digits), number)) return false;
  text->remove_prefix(digits);
  return true;
}

// Takes a name in capitals off the beginning of `text`, and the quote behind it.
bool ConsumeName(absl::string_view* text, absl::string_view* name) {
  const auto is_plain = [](char c) { return (c >= 'A' && c <= 'Z') || c == '_'; };
  const size_t end =
      static_cast<size_t>(std::find_if_not(text->begin(), text->end(), is_plain) - text->begin());
  *name = text->substr(0, end);
  text->remove_prefix(end);
  return absl::ConsumePrefix(text, "\"");
}

// An event whose line is put together as QEMU does it, word for word. Nullopt: another line. Most
// lines are such events, and the general way takes several times as long. It reads the same.
std::optional<QmpEvent> ParseUsualEvent(absl::string_view text) {
  int64_t seconds = 0;
  int64_t micros = 0;
  absl::string_view name;
  if (!absl::ConsumePrefix(&text, R"({"timestamp": {"seconds": )") ||
      !ConsumeNumber(&text, &seconds) || !absl::ConsumePrefix(&text, R"(, "microseconds": )") ||
      !ConsumeNumber(&text, &micros) || !absl::ConsumePrefix(&text, R"(}, "event": ")") ||
      !ConsumeName(&text, &name) || !absl::ConsumeSuffix(&text, "}")) {
    return std::nullopt;
  }
  QmpEvent event;
  event.name = std::string(name);
  event.time = ToTime(seconds, micros);
  if (text.empty()) return event;
  // The parser would skip a byte order mark before the object, and end at a NUL.
  if (!absl::ConsumePrefix(&text, R"(, "data": )") || !absl::StartsWith(text, "{") ||
      text.find('\0') != absl::string_view::npos) {
    return std::nullopt;
  }
  // More members than `data` would make this no object.
  event.data = QmpObject::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!event.data.is_object()) return std::nullopt;
  event.detail_json = DetailJson(text, kMaxDetailBytes);
  return event;
}

absl::StatusOr<QmpMessage> ParseEvent(const QmpObject& message, const QmpObject& name,
                                      absl::string_view text) {
  if (!name.is_string()) return Malformed("an event whose name is no string");
  QmpEvent event;
  event.name = name.get<std::string>();
  event.time = ParseTimestamp(message);
  if (const QmpObject* data = Member(message, "data"); data != nullptr) {
    if (!data->is_object()) return Malformed("an event whose data is no object");
    event.data = *data;
    event.detail_json = DetailJson(RawMember(text, "data"), kMaxDetailBytes);
  }
  return event;
}

}  // namespace

int LineFramer::OpenAfter(absl::string_view line) const {
  const bool first = !partial_.has_value() || partial_->counted == 0;
  if (first && (!absl::StartsWith(line, "{") || absl::EndsWith(line, "}"))) return 0;
  const Extent extent = Measure(first ? line : line.substr(partial_->counted));
  // No string of JSON has a line end: the parser says so.
  if (extent.in_string) return 0;
  return std::max(extent.open + (first ? 0 : partial_->open), 0);
}

absl::Status LineFramer::Feed(absl::string_view bytes,
                              const std::function<absl::Status(absl::string_view)>& on_line) {
  while (true) {
    const size_t end = bytes.find('\n');
    const absl::string_view piece = bytes.substr(0, end);
    if (partial().size() + piece.size() > kMaxLineBytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("a line of more than ", kMaxLineBytes >> 20, " MiB"));
    }
    absl::string_view line = piece;
    if (partial_.has_value()) {
      line = partial_->text.append(piece.data(), piece.size());
    } else if (end == absl::string_view::npos && !piece.empty()) {
      partial_.emplace(Partial{.text = std::string(piece)});
    }
    if (end == absl::string_view::npos) return absl::OkStatus();
    if (absl::EndsWith(line, "\r")) line.remove_suffix(1);
    if (const int open = OpenAfter(line); open > 0) {
      if (!partial_.has_value()) partial_.emplace(Partial{.text = std::string(piece)});
      partial_->text += '\n';
      partial_->counted = partial_->text.size();
      partial_->open = open;
    } else {
      if (!line.empty()) {
        if (absl::Status status = on_line(line); !status.ok()) return status;
      }
      partial_.reset();
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
  const std::string text =
      line.size() > kLongLineBytes ? RepairUtf8(CutLongStrings(line)) : RepairUtf8(line);
  if (std::optional<QmpEvent> event = ParseUsualEvent(text)) return *std::move(event);
  const QmpObject message = QmpObject::parse(text, nullptr, /*allow_exceptions=*/false);
  if (message.is_discarded()) return Malformed("a line that is not JSON");
  if (!message.is_object()) return Malformed("a line that is no JSON object");
  if (const QmpObject* name = Member(message, "event")) return ParseEvent(message, *name, text);
  if (const QmpObject* value = Member(message, "return")) return QmpReturn{*value};
  if (Member(message, "error") != nullptr) return QmpError{};
  if (const QmpObject* body = Member(message, "QMP")) return ParseGreeting(*body);
  return Malformed("an object that is no greeting, reply or event");
}

std::string DetailJson(absl::string_view data, size_t max_bytes) {
  std::string detail;
  if (AppendCompact(data, max_bytes, &detail)) return detail;
  detail = absl::StrCat("{\"", kTruncatedMember, "\":true");
  ForEachMember(data, [&](absl::string_view name, absl::string_view value) {
    if (name.substr(1, name.size() - 2) == kTruncatedMember) return;
    const size_t before = detail.size();
    detail += ',';
    // One byte stays for the bracket.
    if (!AppendCompact(name, max_bytes - 1, &detail) ||
        !AppendCompact(value, max_bytes - 1, &(detail += ':'))) {
      detail.resize(before);
    }
  });
  return detail + "}";
}

std::string QmpText(const QmpObject& object, const char* name) {
  const QmpObject* const member = Member(object, name);
  return member != nullptr && member->is_string() ? member->get<std::string>() : "";
}

std::optional<bool> QmpBool(const QmpObject& object, const char* name) {
  const QmpObject* const member = Member(object, name);
  return member != nullptr && member->is_boolean() ? std::optional(member->get<bool>())
                                                   : std::nullopt;
}

}  // namespace vmeventd
