#ifndef VMEVENTD_WATCHER_LIBVIRT_DOMAIN_PROCESS_H_
#define VMEVENTD_WATCHER_LIBVIRT_DOMAIN_PROCESS_H_

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
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
// kUntracked if there is no such process here, kGone with the pid if the file has one that nobody
// has (any more). RESOURCE_EXHAUSTED: no descriptor left.
absl::StatusOr<PeerProcess> FindDomainProcess(const std::string& directory,
                                              const DomainName& domain);

// The PID namespace of the process that serves the Unix socket `path`: of a libvirt in a container,
// its own. 0: it is not to be had, or this process's own. Never waits.
uint64_t PidNamespaceBehind(const std::string& path);

// The processes of a PID namespace that were started with one of these domains' UUIDs, by UUID: a
// look at all processes of /proc, which takes some milliseconds. A pod can have processes in no
// namespace but its own.
absl::flat_hash_map<std::string, PeerProcess> FindProcessesInNamespace(
    uint64_t pid_namespace, const absl::flat_hash_set<std::string>& uuids);

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_LIBVIRT_DOMAIN_PROCESS_H_
