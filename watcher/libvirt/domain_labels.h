#pragma once

#include "absl/strings/string_view.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

// The labels of a domain, from the <metadata> of its XML: OpenStack's nova:instance, KubeVirt's
// kubevirt, and urn:vmeventd:labels, which people set. Whoever may define domains, or name
// instances, writes this text. A key that is none is left out, and so is what is beyond the bounds.
// Of XML that cannot be read, what stands before the error counts. Pure; any thread.
Labels LabelsOf(absl::string_view domain_xml);

}  // namespace vmeventd
