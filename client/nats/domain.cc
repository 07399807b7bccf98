#include "client/nats/domain.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace vmeventd::client {

std::string ApiSubject(absl::string_view request, absl::string_view stream) {
  return absl::StrCat("$JS.API.", request, ".", stream);
}

std::string InDomain(absl::string_view domain, absl::string_view subject) {
  absl::string_view rest = subject;
  const bool moves = absl::ConsumePrefix(&rest, "$JS.API.") || absl::StartsWith(subject, "$KV.");
  if (domain.empty() || !moves) return std::string(subject);
  return absl::StrCat("$JS.", domain, ".API.", rest);
}

absl::Status CheckDomain(absl::string_view domain) {
  const bool fits = !domain.empty() && std::all_of(domain.begin(), domain.end(), [](char c) {
    return absl::ascii_isgraph(c) && c != '.' && c != '*' && c != '>';
  });
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "is not a domain of JetStream: use visible ASCII without \".\", \"*\" and \">\"");
}

}  // namespace vmeventd::client
