#pragma once

#include "absl/strings/string_view.h"
#include "watcher/core/vm_event.h"
#include "watcher/session/guest_agent_probe.h"

namespace vmeventd {

// What is of use in a running domain's XML, as virDomainGetXMLDesc writes it. Pure; any thread.

// Its virtio-serial ports (<channel> in <devices>).
GuestAgentInfo GuestAgentOf(absl::string_view domain_xml);

// The labels of a domain, from its <metadata>: OpenStack's nova:instance, KubeVirt's kubevirt, and
// urn:vmeventd:labels, which people set. Untrusted: anybody who may define domains, or name
// instances, writes this text. Invalid keys, and labels beyond the limits, are left out. Of
// malformed XML, the part before the error counts.
Labels LabelsOf(absl::string_view domain_xml);

}  // namespace vmeventd
