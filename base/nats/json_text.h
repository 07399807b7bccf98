#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

// Reads untrusted JSON from a server. Pure. For this folder.

namespace vmeventd::nats {

using nlohmann::json;

// Returns a discarded value if `text` is not JSON.
inline json ParseJson(absl::string_view text) {
  return json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
}

// A member; null: there is none.
inline const json& Member(const json& object, const char* name) {
  static const auto* const null = new json();
  if (!object.is_object()) return *null;
  const auto found = object.find(name);
  return found == object.end() ? *null : *found;
}

// "": there is no such text.
inline std::string TextIn(const json& object, const char* name) {
  const json& member = Member(object, name);
  return member.is_string() ? member.get<std::string>() : "";
}

// 0: there is no such number.
inline uint64_t NumberIn(const json& object, const char* name) {
  const json& member = Member(object, name);
  return member.is_number_unsigned() ? member.get<uint64_t>() : 0;
}

}  // namespace vmeventd::nats
