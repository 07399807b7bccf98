#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "client/connect/failure.h"
#include "client/output/invocation.h"

// The failure of a command that finds nothing.

namespace vmeventd::client {

// The failure "no WHAT is known", with the place of the search and the hint.
Failure NotFound(absl::string_view what, const Invocation& invocation, absl::string_view hint);
// A hint for NotFound(): how to list what is known.
std::string ListHint(const Invocation& invocation);

}  // namespace vmeventd::client
