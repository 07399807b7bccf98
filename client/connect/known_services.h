#pragma once

#include <map>
#include <string>

#include "client/output/invocation.h"

namespace vmeventd::client {

// Returns the health services that this client knows, each with what it means that it does not
// serve: completes "vmeventd at ADDRESS". "" is the server as a whole.
std::map<std::string, std::string> KnownServices(const Invocation& invocation);

// Returns what it means that `service` does not serve. Another version of vmeventd may have one
// that this client does not know: that is named. Safe for a terminal.
std::string WhyNotServing(const std::string& service, const Invocation& invocation);

}  // namespace vmeventd::client
