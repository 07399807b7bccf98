#include "server/log/log_text.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/utf8.h"

namespace vmeventd {
namespace {

// Backslashes are escaped too: else one at the end of a value would take the quote that ends it,
// and what follows would be read as more fields.
std::string Quoted(const std::string& value) {
  std::string clean = OnOneLine(value);
  if (!clean.empty() && clean.find_first_of(" =\"\\") == std::string::npos) return clean;
  const std::string escaped = absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"\"", "\\\""}});
  return absl::StrCat("\"", OnOneLine(escaped), "\"");
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
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Character character = DecodeUtf8(text);
    const size_t length = std::max<size_t>(character.length, 1);
    if (character.length != 0 && !IsHiddenCharacter(character.code_point)) {
      out.append(text.data(), length);
    } else {
      for (const char c : text.substr(0, length)) {
        absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(c));
      }
    }
    text.remove_prefix(length);
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
