#include "client/sinks/signature.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace vmeventd::client {

absl::StatusOr<std::vector<std::string>> ParseSecrets(absl::string_view content) {
  constexpr size_t kLeast = 16;
  constexpr size_t kLongest = 1024;
  constexpr size_t kMax = 2;
  std::vector<std::string> secrets;
  for (absl::string_view line : absl::StrSplit(content, '\n', absl::SkipEmpty())) {
    line = absl::StripSuffix(line, "\r");
    if (line.size() < kLeast || line.size() > kLongest) {
      return absl::InvalidArgumentError(
          absl::StrCat("has a secret of ", line.size(), " bytes; write one of ", kLeast, " to ",
                       kLongest, " on a line, as `openssl rand -hex 32` makes one"));
    }
    secrets.emplace_back(line);
  }
  if (secrets.empty() || secrets.size() > kMax) {
    return absl::InvalidArgumentError(absl::StrCat("has ", secrets.size(),
                                                   " secrets; write one, or while it is replaced "
                                                   "two, each on a line"));
  }
  return secrets;
}

std::string HmacOf(absl::string_view secret, absl::string_view text) {
  std::string code(SHA256_DIGEST_LENGTH, '\0');
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(),
       reinterpret_cast<unsigned char*>(code.data()), nullptr);
  return absl::BytesToHexString(code);
}

std::string Signature(const std::vector<std::string>& secrets, absl::string_view body,
                      absl::Time now) {
  const std::string seconds = absl::StrCat(absl::ToUnixSeconds(now));
  std::string header = absl::StrCat("t=", seconds);
  for (const std::string& secret : secrets) {
    absl::StrAppend(&header, ",v1=", HmacOf(secret, absl::StrCat(seconds, ".", body)));
  }
  return header;
}

}  // namespace vmeventd::client
