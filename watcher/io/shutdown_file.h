#ifndef VMEVENTD_WATCHER_IO_SHUTDOWN_FILE_H_
#define VMEVENTD_WATCHER_IO_SHUTDOWN_FILE_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace vmeventd {

// Ganeti's legacy shutdown file, NAME.shutdown in the directory of the VM's sockets: its presence
// says that the user shut the VM down from inside. `vm_name` is raw bytes. Errors name the file
// and the errno; EMFILE and ENFILE are RESOURCE_EXHAUSTED. Nothing here follows a link at the
// file's place or waits for anything but the file system.

// Creates the file, empty, with mode 0644 whatever the umask, or renews the times of one that is
// there. Refuses anything there that is no regular file; a file that has another link is replaced.
absl::Status CreateShutdownFile(const std::string& directory, const std::string& vm_name);

// Removes the file; that there is none is success.
absl::Status DeleteShutdownFile(const std::string& directory, const std::string& vm_name);

// When the file was written or renewed last, if it is there, is a regular file and belongs to this
// process's user: so it was vmeventd that wrote it. Unset otherwise. Needs no descriptor.
std::optional<absl::Time> OwnShutdownFileTime(const std::string& directory,
                                              const std::string& vm_name);

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_IO_SHUTDOWN_FILE_H_
