#pragma once

#include <map>
#include <string>

#include "client/output/invocation.h"

namespace vmeventd::client {

// Returns the health services that this client knows, each with the consequence of its not serving:
// text that completes "vmeventd at ADDRESS". "" is the server as a whole.
std::map<std::string, std::string> KnownServices(const Invocation& invocation);

// Returns what follows if `service` does not serve. A service of another version of vmeventd, which
// this client does not know, is only named. Safe for a terminal.
std::string WhyNotServing(const std::string& service, const Invocation& invocation);

}  // namespace vmeventd::client
