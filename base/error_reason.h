#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace vmeventd {

// The payloads of a status from which the details of an error response are made.
inline constexpr char kReasonPayload[] = "reason";
inline constexpr char kRetryPayload[] = "retry_ns";
inline constexpr char kFactPrefix[] = "fact/";  // prefix for the keys of ErrorInfo.metadata

// Adds the reason for programs: the name of a value of ErrorReason in the contract, without the
// prefix.
inline absl::Status WithReason(absl::string_view reason, absl::Status status) {
  status.SetPayload(kReasonPayload, absl::Cord(reason));
  return status;
}

inline bool HasReason(const absl::Status& status, absl::string_view reason) {
  const auto found = status.GetPayload(kReasonPayload);
  return found.has_value() && *found == reason;
}

// Adds a fact for programs to a status with a reason: an entry of its ErrorInfo's metadata.
inline absl::Status WithFact(absl::string_view key, absl::string_view value, absl::Status status) {
  status.SetPayload(absl::StrCat(kFactPrefix, key), absl::Cord(value));
  return status;
}

// Adds the time after which a call may succeed.
inline absl::Status WithRetry(absl::Duration after, absl::Status status) {
  // A view: clang 19 and g++ 14, which built Debian 13's Abseil, name Cord(std::string&&)
  // differently.
  const std::string nanoseconds = std::to_string(absl::ToInt64Nanoseconds(after));
  status.SetPayload(kRetryPayload, absl::Cord(absl::string_view(nanoseconds)));
  return status;
}

}  // namespace vmeventd
