#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// A page token holds a journal, the hash of a question and a position in its answer. It is no
// secret: a client that makes one gets the same events that it could list anyway.

// `question` is everything that determines what is listed and in which order.
std::string MakePageToken(absl::string_view journal_id, absl::string_view question,
                          absl::string_view position);
// Returns the position. INVALID_ARGUMENT: it is not a page token, or of another question.
// OUT_OF_RANGE: of another journal.
absl::StatusOr<std::string> ReadPageToken(absl::string_view journal_id, absl::string_view question,
                                          absl::string_view token);

}  // namespace vmeventd
