#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// Makes and reads page tokens: a position, signed together with the question it belongs to, so that
// a forged token or one of another question is refused. A token names its journal in clear text, so
// that a token of a replaced journal is recognised. Immutable; any thread.
class PageTokens {
 public:
  // `key` is the secret of the journal `journal_id`.
  PageTokens(std::string key, absl::string_view journal_id);

  // `question` is everything that determines what is listed and in which order.
  std::string Make(absl::string_view question, absl::string_view position) const;
  // Returns the position. INVALID_ARGUMENT: not made for this question. OUT_OF_RANGE: of another
  // journal.
  absl::StatusOr<std::string> Read(absl::string_view question, absl::string_view token) const;

 private:
  std::string Sign(absl::string_view question, absl::string_view position) const;

  const std::string key_;
  const std::string journal_;  // its name in tokens
};

}  // namespace vmeventd
