#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// The signature of a request, by which a receiver knows who sent it and when. docs/act.md has a
// receiver's check.

namespace vmeventd::client {

inline constexpr char kSignatureHeader[] = "Vmevents-Signature";

// The secrets of a file, one a line: each of 16 to 1,024 bytes, at most 2, so that one can be
// replaced. INVALID_ARGUMENT names the fault, without the text.
absl::StatusOr<std::vector<std::string>> ParseSecrets(absl::string_view content);

// The HMAC-SHA256 in hexadecimal digits.
std::string HmacOf(absl::string_view secret, absl::string_view text);

// The header's value, "t=SECONDS,v1=HEX": HEX is the HmacOf "SECONDS.BODY" by a secret. Of
// two secrets there are two v1.
std::string Signature(const std::vector<std::string>& secrets, absl::string_view body,
                      absl::Time now);

}  // namespace vmeventd::client
