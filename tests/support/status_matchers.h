#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"

namespace vmeventd {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// Matches a Status or a StatusOr whose message contains the text.
MATCHER_P(Says, text, "") {
  const std::string message(StatusOf(arg).message());
  *result_listener << "which says: " << message;
  return testing::Matches(testing::HasSubstr(text))(message);
}

// Like Says(), and the status must be of one kind: FailsAs(absl::IsNotFound, "no such file").
MATCHER_P2(FailsAs, is_kind, text, "") {
  *result_listener << "which is " << StatusOf(arg);
  return is_kind(StatusOf(arg)) && testing::Matches(Says(text))(StatusOf(arg));
}

}  // namespace vmeventd
