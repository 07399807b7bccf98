#include "client/commands/not_found.h"

#include "absl/strings/str_cat.h"

namespace vmeventd::client {

Failure NotFound(absl::string_view what, const Invocation& invocation, absl::string_view hint) {
  return {ExitCode::kNotFound, absl::StrCat("no ", what, " is known", invocation.where, hint)};
}

std::string ListHint(const Invocation& invocation) {
  return absl::StrCat("; ", invocation.Quoted("vms --all"), " lists those that are");
}

}  // namespace vmeventd::client
