#include "client/fleet/fleet_subjects.h"

#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "client/fleet/escape_bytes.h"
#include "client/output/enum_names.h"

namespace vmeventd::client {

std::string EscapeToken(absl::string_view name) {
  std::string token = EscapeBytes(name.substr(0, kMaxTokenNameBytes), '=', [](char byte) {
    return absl::ascii_isalnum(static_cast<unsigned char>(byte)) || byte == '-' || byte == '_';
  });
  return token.empty() ? "=" : token;
}

std::optional<std::string> UnescapeToken(absl::string_view token) {
  std::string name;
  for (size_t at = 0; at < token.size() && token != "="; ++at) {
    uint32_t byte = static_cast<unsigned char>(token[at]);
    if (token[at] == '=') {
      if (!absl::SimpleHexAtoi(token.substr(at + 1, 2), &byte)) return std::nullopt;
      at += 2;
    }
    name.push_back(static_cast<char>(byte));
  }
  // One name has one token.
  return EscapeToken(name) == token ? std::optional(std::move(name)) : std::nullopt;
}

std::string SubjectWords(const v1::Event& event) {
  const auto word = [](const auto value, absl::string_view kind) {
    const std::string name = ShortName(value);
    return absl::ascii_isdigit(name[0]) ? absl::StrCat(kind, "-", name) : SubjectWord(name);
  };
  const v1::ShutdownClass shutdown_class = event.shutdown().shutdown_class();
  return absl::StrCat(word(event.type(), "type"),
                      shutdown_class == v1::SHUTDOWN_CLASS_UNSPECIFIED
                          ? ""
                          : absl::StrCat(".", word(shutdown_class, "class")));
}

}  // namespace vmeventd::client
