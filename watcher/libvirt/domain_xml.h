#pragma once

#include "absl/strings/string_view.h"
#include "watcher/session/guest_agent_probe.h"

namespace vmeventd {

// Reads from a running domain's XML, as virDomainGetXMLDesc writes it, its virtio-serial ports
// (<channel> in <devices>). Pure.
GuestAgentInfo GuestAgentOf(absl::string_view domain_xml);

}  // namespace vmeventd
