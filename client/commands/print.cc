#include "client/commands/print.h"

#include "absl/status/status.h"

namespace vmeventd::client {

std::optional<Failure> FromPrint(const absl::Status& status) {
  if (status.ok() || absl::IsCancelled(status)) return std::nullopt;
  return Failure{ExitCode::kFailed, std::string(status.message())};
}

std::optional<Failure> PrintText(const absl::StatusOr<std::string>& text, Output* output) {
  return FromPrint(text.ok() ? output->Write(*text) : text.status());
}

}  // namespace vmeventd::client
