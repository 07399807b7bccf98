// A name comes back from its token.

#include <cstdlib>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "client/fleet/fleet_subjects.h"

namespace {

bool IsToken(absl::string_view token) {
  constexpr absl::string_view kBytes =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=";
  return !token.empty() && token.size() <= 3 * vmeventd::client::kMaxTokenNameBytes &&
         token.find_first_not_of(kBytes) == absl::string_view::npos;
}

}  // namespace

void Fuzz_fleet_subject(absl::string_view input) {
  const std::string token = vmeventd::client::EscapeToken(input);
  if (!IsToken(token)) std::abort();
  const std::optional<std::string> back = vmeventd::client::UnescapeToken(token);
  if (back != std::string(input.substr(0, vmeventd::client::kMaxTokenNameBytes))) std::abort();
  if (const auto name = vmeventd::client::UnescapeToken(input);
      name.has_value() && vmeventd::client::EscapeToken(*name) != input) {
    std::abort();
  }
}
