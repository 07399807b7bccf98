#pragma once

#include <string>

#include "absl/strings/string_view.h"

// Decides who may read the page. Pure.

namespace vmeventd::client {

// Returns whether the Host header names this server: by an address in digits, as localhost, or by a
// name of the certificate, in PEM; empty: there is none. A page of another site that has its own
// name resolve to this server (DNS rebinding) has that name there.
bool IsOwnHost(absl::string_view host, const std::string& certificate);

// Returns whether the Authorization header has the token, as "Bearer TOKEN" or as the password of
// "Basic", with any user name. Its time depends on the token's length alone.
bool HasToken(absl::string_view authorization, absl::string_view token);

}  // namespace vmeventd::client
