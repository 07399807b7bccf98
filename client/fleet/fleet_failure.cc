#include "client/fleet/fleet_failure.h"

#include "absl/strings/str_cat.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

Failure ExplainFleetFailure(const std::string& servers, const Invocation& invocation,
                            const absl::Status& status) {
  const std::string why = EscapeForTerminal(status.message());
  if (absl::IsUnavailable(status)) {
    return {ExitCode::kUnreachable, absl::StrCat(servers, ": ", why)};
  }
  if (!absl::IsNotFound(status)) return {ExitCode::kFailed, why};
  return {ExitCode::kNotFound,
          absl::StrCat(servers, " has no stream or bucket of a fleet (", why,
                       "): create them with ", invocation.Quoted("fleet create"),
                       ", unless these credentials are of another account")};
}

}  // namespace vmeventd::client
