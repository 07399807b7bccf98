#pragma once

#include <string>

#include "absl/status/status.h"

// Ganeti's legacy shutdown file, NAME.shutdown in the directory of the VM's sockets: its presence
// says that the user shut the VM down from inside. `vm_name` is raw bytes. Errors name the file and
// the errno; EMFILE and ENFILE are RESOURCE_EXHAUSTED. Nothing here follows a link at the file's
// path. Blocks on the file system only: call it on the thread of its directory.

namespace vmeventd {

// Creates an empty file with mode 0644, whatever the umask is, or updates the times of an existing
// one. Fails if something other than a regular file is there; replaces a file that has other hard
// links.
absl::Status CreateShutdownFile(const std::string& directory, const std::string& vm_name);

// Removes the file. A missing file is no error.
absl::Status DeleteShutdownFile(const std::string& directory, const std::string& vm_name);

}  // namespace vmeventd
