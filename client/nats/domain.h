#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

// Subjects of JetStream's API, in the servers' own domain or in another. Pure.

namespace vmeventd::client {

// The subject for a request of JetStream's API: "$JS.API.STREAM.INFO.VMEVENTS".
std::string ApiSubject(absl::string_view request, absl::string_view stream);

// Maps `subject` to the JetStream of another domain, such as one behind a leaf node:
// "$JS.DOMAIN.API.STREAM.INFO.VMEVENTS", "$JS.DOMAIN.API.$KV.BUCKET.KEY". Other subjects, and all
// of them without a domain, are returned unchanged.
std::string InDomain(absl::string_view domain, absl::string_view subject);

// Checks that a domain can be part of a subject. The error says what a domain is.
absl::Status CheckDomain(absl::string_view domain);

}  // namespace vmeventd::client
