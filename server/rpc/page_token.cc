#include "server/rpc/page_token.h"

#include <openssl/evp.h>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "base/text.h"

namespace vmeventd {
namespace {

constexpr size_t kHashBytes = 8;

std::string Hash(absl::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha256(), nullptr);
  return std::string(reinterpret_cast<const char*>(digest), kHashBytes);
}

}  // namespace

std::string MakePageToken(absl::string_view journal_id, absl::string_view question,
                          absl::string_view position) {
  // The hash over all of it distinguishes a token of another question from other text.
  const std::string bytes = absl::StrCat(Hash(journal_id), Hash(question), position);
  return absl::WebSafeBase64Escape(absl::StrCat(Hash(bytes), bytes));
}

absl::StatusOr<std::string> ReadPageToken(absl::string_view journal_id, absl::string_view question,
                                          absl::string_view token) {
  std::string bytes;
  if (!absl::WebSafeBase64Unescape(token, &bytes) || bytes.size() < 3 * kHashBytes ||
      bytes.substr(0, kHashBytes) != Hash(bytes.substr(kHashBytes))) {
    return absl::InvalidArgumentError(
        absl::StrCat("page_token: ", Quote(token), " is not a page token"));
  }
  if (bytes.substr(kHashBytes, kHashBytes) != Hash(journal_id)) {
    return WithReason(
        "JOURNAL_REPLACED",
        absl::OutOfRangeError(
            "page_token: it is from before the journal was replaced; start again without a token"));
  }
  if (bytes.substr(2 * kHashBytes, kHashBytes) != Hash(question)) {
    return absl::InvalidArgumentError(
        "page_token: it was issued for a request with other fields; only page_size may change");
  }
  return bytes.substr(3 * kHashBytes);
}

}  // namespace vmeventd
