#include "server/rpc/page_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/quote.h"

namespace vmeventd {
namespace {

constexpr size_t kSignatureBytes = 16;

// What a position begins with that names its journal: a byte that no position of earlier versions
// begins with, which named none, and a digest of the journal's id.
constexpr char kNamesJournal = '\x01';
constexpr size_t kJournalBytes = 8;
// At the end of a token that names its journal: without the other journal's key this alone tells it
// from one that was altered.
constexpr size_t kChecksumBytes = 4;

std::string Digest(absl::string_view bytes, size_t length) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr);
  return std::string(reinterpret_cast<const char*>(digest), length);
}

// Takes off the checksum, if that is right.
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
  // The length keeps apart what would read the same put together.
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
    if (CRYPTO_memcmp(signature.data(), bytes.data(), kSignatureBytes) == 0) {
      if (names_journal) absl::ConsumePrefix(&position, journal_);
      return std::string(position);
    }
    // What another journal signed cannot be checked here; nothing depends on it.
    const absl::string_view journal = position.substr(0, journal_.size());
    if (names_journal && journal.size() == journal_.size() && journal[0] == kNamesJournal &&
        journal != journal_) {
      return absl::OutOfRangeError(
          absl::StrCat("page_token: ", Quote(token),
                       " is of another journal than this daemon's, which was replaced or restored; "
                       "begin again without a token"));
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("page_token: ", Quote(token),
                   " was not given by this daemon for these fields; only page_size may differ "
                   "between the pages of one listing"));
}

}  // namespace vmeventd
