#include "server/log/log_text.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "watcher/core/names.h"

namespace vmeventd {
namespace {

// How many bytes at the start of `text`, which is UTF-8, are a character that may not stand in a
// line: control characters (C0, DEL, C1), zero-width and direction marks, line separators.
size_t HiddenPrefix(absl::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x20 || byte(0) == 0x7f) return 1;
  if (byte(0) == 0xc2 && byte(1) <= 0x9f) return 2;
  if (absl::StartsWith(text, "\xd8\x9c")) return 2;      // ARABIC LETTER MARK
  if (absl::StartsWith(text, "\xef\xbb\xbf")) return 3;  // the byte order mark
  if (byte(0) != 0xe2) return 0;
  const bool hidden =
      (byte(1) == 0x80 && ((byte(2) >= 0x8b && byte(2) <= 0x8f) ||    // U+200B to U+200F
                           (byte(2) >= 0xa8 && byte(2) <= 0xae))) ||  // U+2028 to U+202E
      (byte(1) == 0x81 && byte(2) >= 0xa0 && byte(2) <= 0xaf);        // U+2060 to U+206F
  return hidden ? 3 : 0;
}

std::string Quoted(const std::string& value) {
  std::string clean = OnOneLine(value);
  if (!clean.empty() && clean.find_first_of(" =\"\\") == std::string::npos) return clean;
  std::string out = "\"";
  for (const char c : clean) {
    if (c == '"') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string AsText(const nlohmann::ordered_json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return value.dump();
  return absl::StrJoin(value, "; ", [](std::string* out, const nlohmann::ordered_json& entry) {
    absl::StrAppend(out, AsText(entry));
  });
}

}  // namespace

std::string OnOneLine(absl::string_view text) {
  const std::string valid = EscapeNonUtf8(text);
  std::string out;
  for (absl::string_view rest = valid; !rest.empty();) {
    const size_t hidden = HiddenPrefix(rest);
    for (size_t i = 0; i < hidden; ++i) {
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(rest[i]));
    }
    if (hidden == 0) out += rest[0];
    rest.remove_prefix(hidden == 0 ? 1 : hidden);
  }
  return out;
}

std::string FieldsAsText(const nlohmann::ordered_json& fields) {
  std::string out;
  for (const auto& [key, value] : fields.items()) {
    if (key != "message") absl::StrAppend(&out, " ", key, "=", Quoted(AsText(value)));
  }
  return out;
}

}  // namespace vmeventd
