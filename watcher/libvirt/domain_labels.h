#pragma once

#include "absl/strings/string_view.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

// The labels of a domain, from the <metadata> of its XML: OpenStack's nova:instance, KubeVirt's
// kubevirt, and urn:vmeventd:labels, which people set. Untrusted: anybody who may define domains,
// or name instances, writes this text. Invalid keys, and labels beyond the limits, are left out. Of
// malformed XML, the part before the error counts. Pure; any thread.
Labels LabelsOf(absl::string_view domain_xml);

}  // namespace vmeventd
