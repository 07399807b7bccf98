#pragma once

#include <string>

#include "absl/status/status.h"

// Ganeti's legacy shutdown file, NAME.shutdown in the directory of the VM's sockets: its presence
// says that the user shut the VM down from inside. `vm_name` is raw bytes. Errors name the file and
// the errno; EMFILE and ENFILE are RESOURCE_EXHAUSTED. Nothing here follows a link at the file's
// path. Blocks on the file system only: call it on the thread of its directory.

namespace vmeventd {

// Creates the file, empty, with mode 0644 whatever the umask, or renews the times of one that is
// there. Refuses anything there that is no regular file; a file that has another link is replaced.
absl::Status CreateShutdownFile(const std::string& directory, const std::string& vm_name);

// Removes the file; that there is none is success.
absl::Status DeleteShutdownFile(const std::string& directory, const std::string& vm_name);

}  // namespace vmeventd
