#ifndef VMEVENTD_WATCHER_LIBVIRT_DOMAIN_PROCESS_H_
#define VMEVENTD_WATCHER_LIBVIRT_DOMAIN_PROCESS_H_

#include <string>

#include "absl/status/statusor.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/runs/process.h"

namespace vmeventd {

// Where the libvirt that serves `socket` (empty: where libvirt itself looks) keeps the pid files of
// its domains.
std::string PidDirectory(const LibvirtSpec& spec, const std::string& socket);

// The QEMU of a running domain, by the pid file NAME.pid in `directory`. The number is only
// believed where that process was started with the domain's UUID: a libvirt in a container counts
// other pids than we do. A link is not followed there, nor a name that leads elsewhere. Of kind
// kUntracked if there is no such process here. RESOURCE_EXHAUSTED: no descriptor left.
absl::StatusOr<PeerProcess> FindDomainProcess(const std::string& directory,
                                              const DomainName& domain);

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_LIBVIRT_DOMAIN_PROCESS_H_
