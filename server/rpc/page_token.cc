#include "server/rpc/page_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/quote.h"

namespace vmeventd {
namespace {

constexpr size_t kSignatureBytes = 16;

// First byte of a position that names its journal, followed by a digest of the journal's id. No
// position of earlier versions, which named no journal, begins with it.
constexpr char kNamesJournal = '\x01';
constexpr size_t kJournalBytes = 8;
// Follows a token that names its journal. A token of another journal, whose key is unknown, can be
// distinguished from an altered one by this alone.
constexpr size_t kChecksumBytes = 4;

std::string Digest(absl::string_view bytes, size_t length) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr);
  return std::string(reinterpret_cast<const char*>(digest), length);
}

// Removes the checksum if it is right.
bool ConsumeChecksum(absl::string_view* bytes) {
  if (bytes->size() < kChecksumBytes) return false;
  const absl::string_view rest = bytes->substr(0, bytes->size() - kChecksumBytes);
  if (bytes->substr(rest.size()) != Digest(rest, kChecksumBytes)) return false;
  *bytes = rest;
  return true;
}

}  // namespace

PageTokens::PageTokens(std::string key, absl::string_view journal_id)
    : key_(std::move(key)), journal_(kNamesJournal + Digest(journal_id, kJournalBytes)) {}

std::string PageTokens::Sign(absl::string_view question, absl::string_view position) const {
  // The length separates pairs whose concatenation would be the same.
  const std::string text = absl::StrCat(question.size(), ":", question, position);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &size);
  return std::string(reinterpret_cast<const char*>(digest), kSignatureBytes);
}

std::string PageTokens::Make(absl::string_view question, absl::string_view position) const {
  const std::string named = absl::StrCat(journal_, position);
  const std::string token = absl::StrCat(Sign(question, named), named);
  return absl::WebSafeBase64Escape(absl::StrCat(token, Digest(token, kChecksumBytes)));
}

absl::StatusOr<std::string> PageTokens::Read(absl::string_view question,
                                             absl::string_view token) const {
  std::string decoded;
  const bool is_base64 = absl::WebSafeBase64Unescape(token, &decoded);
  absl::string_view bytes = decoded;
  const bool names_journal = ConsumeChecksum(&bytes);
  if (is_base64 && bytes.size() >= kSignatureBytes) {
    absl::string_view position = bytes.substr(kSignatureBytes);
    const std::string signature = Sign(question, position);
    // A position that names its journal has a checksum: without it the token was cut.
    const bool cut = !names_journal && absl::StartsWith(position, {&kNamesJournal, 1});
    if (!cut && CRYPTO_memcmp(signature.data(), bytes.data(), kSignatureBytes) == 0) {
      if (names_journal) absl::ConsumePrefix(&position, journal_);
      return std::string(position);
    }
    // The signature of another journal cannot be checked; nothing depends on it.
    const absl::string_view journal = position.substr(0, journal_.size());
    if (names_journal && journal.size() == journal_.size() && journal[0] == kNamesJournal &&
        journal != journal_) {
      return absl::OutOfRangeError(
          absl::StrCat("page_token: ", Quote(token),
                       " belongs to another journal: this daemon's was replaced or restored; "
                       "start again without a token"));
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("page_token: ", Quote(token),
                   " was not issued by this daemon for these fields; only page_size may differ "
                   "between the pages of one listing"));
}

}  // namespace vmeventd
