#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace vmeventd {

// Ganeti's legacy shutdown file, NAME.shutdown in the directory of the VM's sockets: its presence
// says that the user shut the VM down from inside. `vm_name` is raw bytes. Errors name the file
// and the errno; EMFILE and ENFILE are RESOURCE_EXHAUSTED. Nothing here follows a link at the
// file's place or waits for anything but the file system.

// A number that identifies the file of one run: the nanoseconds of the file's mtime, which only its
// owner can set, 1 to 999,999,999. Drawn at random, so that no two runs' files are taken for each
// other whatever they are renamed to.
uint32_t NewShutdownFileMark();

// Creates the file, empty, with mode 0644 whatever the umask, or renews the times of one that is
// there. Refuses anything there that is no regular file; a file that has another link is replaced.
// Its mtime is the last one with `mark`, so at most a second ago. `mark` 0: the time as it is; so
// as well where the file is another user's and may be written to only.
absl::Status CreateShutdownFile(const std::string& directory, const std::string& vm_name,
                                uint32_t mark = 0);

// Removes the file; that there is none is success.
absl::Status DeleteShutdownFile(const std::string& directory, const std::string& vm_name);

// The file's mtime, if it is there, is a regular file, belongs to this
// process's user and has `mark`: so it was vmeventd that wrote it, for the run with that mark.
// Unset otherwise, as with `mark` 0 and on a file system whose times are coarser. Needs no
// descriptor.
std::optional<absl::Time> OwnShutdownFileTime(const std::string& directory,
                                              const std::string& vm_name, uint32_t mark);

}  // namespace vmeventd
