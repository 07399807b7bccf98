#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// The signature of a request, which proves to a receiver who sent it and when. docs/act.md shows
// how a receiver checks it.

namespace vmeventd::client {

inline constexpr char kSignatureHeader[] = "Vmevents-Signature";

// Parses the secrets of a file, one on each line, of 16 to 1,024 bytes. At most two, so that one
// can be replaced. INVALID_ARGUMENT names the fault, without the text.
absl::StatusOr<std::vector<std::string>> ParseSecrets(absl::string_view content);

// The HMAC-SHA256 in hexadecimal digits.
std::string HmacOf(absl::string_view secret, absl::string_view text);

// The header's value, "t=SECONDS,v1=HEX". HEX is HmacOf(secret, "SECONDS.BODY"). Two secrets give
// two v1.
std::string Signature(const std::vector<std::string>& secrets, absl::string_view body,
                      absl::Time now);

}  // namespace vmeventd::client
