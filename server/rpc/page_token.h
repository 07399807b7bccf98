#ifndef VMEVENTD_SERVER_RPC_PAGE_TOKEN_H_
#define VMEVENTD_SERVER_RPC_PAGE_TOKEN_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// Makes and reads page tokens: a position, signed together with the question that it belongs to, so
// that a token that was forged, or taken from another question, is refused. It names its journal in
// clear, so that one of a journal that was replaced is known as such. Immutable; any thread.
class PageTokens {
 public:
  // `key`: secret, of the journal `journal_id`.
  PageTokens(std::string key, absl::string_view journal_id);

  // `question` is everything that decides what is listed, in what order.
  std::string Make(absl::string_view question, absl::string_view position) const;
  // The position. INVALID_ARGUMENT: not made for this question. OUT_OF_RANGE: of another journal.
  absl::StatusOr<std::string> Read(absl::string_view question, absl::string_view token) const;

 private:
  std::string Sign(absl::string_view question, absl::string_view position) const;

  const std::string key_;
  const std::string journal_;  // as tokens name it
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_RPC_PAGE_TOKEN_H_
