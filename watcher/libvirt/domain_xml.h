#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "watcher/core/labels.h"
#include "watcher/session/guest_agent_probe.h"

// The guest agent and the labels in a domain's XML.

namespace vmeventd {

// Contents of a running domain's XML, as virDomainGetXMLDesc writes it.
struct DomainDetails {
  GuestAgentInfo agent;  // its virtio-serial ports: <channel> in <devices>
  // From its <metadata>: OpenStack's nova:instance, KubeVirt's kubevirt, and urn:vmeventd:labels,
  // which people set. Untrusted: anybody who may define domains, or name instances, writes this
  // text. Invalid keys, and labels beyond the limits, are dropped.
  Labels labels;
};

// Parses a domain's XML. Pure. Malformed metadata, such as one with an undeclared prefix, is
// ignored. INVALID_ARGUMENT: the rest is malformed too.
absl::StatusOr<DomainDetails> DetailsIn(absl::string_view domain_xml);

}  // namespace vmeventd
