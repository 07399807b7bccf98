#include "server/page_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/quote.h"

namespace vmeventd {
namespace {

constexpr size_t kSignatureBytes = 16;

}  // namespace

std::string PageTokens::Sign(absl::string_view question, absl::string_view position) const {
  // The length keeps apart what would read the same put together.
  const std::string text = absl::StrCat(question.size(), ":", question, position);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &size);
  return std::string(reinterpret_cast<const char*>(digest), kSignatureBytes);
}

std::string PageTokens::Make(absl::string_view question, absl::string_view position) const {
  return absl::WebSafeBase64Escape(absl::StrCat(Sign(question, position), position));
}

absl::StatusOr<std::string> PageTokens::Read(absl::string_view question,
                                             absl::string_view token) const {
  std::string bytes;
  if (absl::WebSafeBase64Unescape(token, &bytes) && bytes.size() >= kSignatureBytes) {
    const std::string signature = Sign(question, absl::string_view(bytes).substr(kSignatureBytes));
    if (CRYPTO_memcmp(signature.data(), bytes.data(), kSignatureBytes) == 0) {
      return bytes.substr(kSignatureBytes);
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("page_token: ", Quote(token),
                   " was not given by this daemon for these fields; only page_size may differ "
                   "between the pages of one listing"));
}

}  // namespace vmeventd
