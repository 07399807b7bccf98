#ifndef VMEVENTD_SERVER_PAGE_TOKEN_H_
#define VMEVENTD_SERVER_PAGE_TOKEN_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// Makes and reads page tokens: a position, signed together with the question that it belongs to, so
// that a token that was forged, or taken from another question or journal, is refused. Immutable;
// any thread.
class PageTokens {
 public:
  // `key`: secret, of this journal.
  explicit PageTokens(std::string key) : key_(std::move(key)) {}

  // `question` is everything that decides what is listed, in what order.
  std::string Make(absl::string_view question, absl::string_view position) const;
  // The position. INVALID_ARGUMENT: not made for this question.
  absl::StatusOr<std::string> Read(absl::string_view question, absl::string_view token) const;

 private:
  std::string Sign(absl::string_view question, absl::string_view position) const;

  const std::string key_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_PAGE_TOKEN_H_
