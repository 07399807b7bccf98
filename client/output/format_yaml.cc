#include "client/output/format_yaml.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/utf8.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

using Json = nlohmann::ordered_json;

// Whether every YAML reader takes `text` for this text without quotes.
bool IsPlain(absl::string_view text) {
  // A word of letters first: no number, date, indicator or blank.
  if (text.empty() || !(absl::ascii_isalpha(text[0]) || text[0] == '/')) return false;
  const bool harmless = std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("_-./", c);
  });
  constexpr std::array kWords = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
  return harmless && std::none_of(kWords.begin(), kWords.end(), [text](const char* word) {
           return absl::EqualsIgnoreCase(text, word);
         });
}

std::string EscapeForYaml(uint32_t code_point) {
  if (code_point <= 0xFF) return absl::StrFormat("\\x%02x", code_point);
  if (code_point <= 0xFFFF) return absl::StrFormat("\\u%04x", code_point);
  return absl::StrFormat("\\U%08x", code_point);
}

// `text` is UTF-8, because it comes from JSON.
std::string Scalar(absl::string_view text) {
  if (IsPlain(text)) return std::string(text);
  std::string out = "\"";
  while (!text.empty()) {
    const Utf8Character character = DecodeUtf8(text);
    const size_t length = std::max<size_t>(character.length, 1);
    if (text[0] == '\n') {
      out += "\\n";
    } else if (text[0] == '"' || text[0] == '\\') {
      absl::StrAppend(&out, "\\", text.substr(0, 1));
    } else if (IsHiddenCharacter(character.code_point)) {
      out += EscapeForYaml(character.code_point);
    } else {
      absl::StrAppend(&out, text.substr(0, length));
    }
    text.remove_prefix(length);
  }
  return absl::StrCat(out, "\"");
}

void Append(const Json& value, size_t indent, std::string* out);

// What stands after "key:" or "-": a scalar on the same line, or a block below it.
void AppendValue(const Json& value, size_t indent, std::string* out) {
  if (value.is_structured() && !value.empty()) {
    *out += '\n';
    Append(value, indent, out);
    return;
  }
  const std::string text =
      value.is_string() ? Scalar(value.get_ref<const std::string&>()) : value.dump();
  absl::StrAppend(out, " ", text, "\n");
}

void Append(const Json& value, size_t indent, std::string* out) {
  const std::string margin(indent, ' ');
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, member] : value.items()) {
      absl::StrAppend(out, margin, Scalar(key), ":");
      AppendValue(member, indent + 2, out);
    }
  } else if (value.is_array() && !value.empty()) {
    for (const Json& element : value) {
      if (element.is_structured() && !element.empty()) {
        const size_t start = out->size();
        Append(element, indent + 2, out);
        (*out)[start + indent] = '-';
      } else {
        absl::StrAppend(out, margin, "-");
        AppendValue(element, indent + 2, out);
      }
    }
  } else {
    absl::StrAppend(out, margin);
    absl::StrAppend(
        out, value.is_string() ? Scalar(value.get_ref<const std::string&>()) : value.dump(), "\n");
  }
}

}  // namespace

std::string YamlOfJson(absl::string_view json) {
  std::string out;
  Append(Json::parse(json), 0, &out);
  return out;
}

}  // namespace vmeventd::client
