// A name comes back from its token.

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "base/nats/subject.h"

namespace {

bool IsToken(absl::string_view token) {
  constexpr absl::string_view kBytes =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=";
  return !token.empty() && token.size() <= vmeventd::kMaxTokenBytes &&
         token.find_first_not_of(kBytes) == absl::string_view::npos;
}

}  // namespace

extern "C" int Fuzz_fleet_subject(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const std::string token = vmeventd::EscapeToken(input);
  if (!IsToken(token)) std::abort();
  const std::optional<std::string> back = vmeventd::UnescapeToken(token);
  if (back.has_value() ? *back != input : size <= vmeventd::kMaxTokenBytes / 3) std::abort();

  if (const auto name = vmeventd::UnescapeToken(input);
      name.has_value() && vmeventd::EscapeToken(*name) != input) {
    std::abort();
  }
  return 0;
}
