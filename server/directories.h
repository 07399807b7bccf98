#ifndef VMEVENTD_SERVER_DIRECTORIES_H_
#define VMEVENTD_SERVER_DIRECTORIES_H_

#include <string>

#include "absl/status/status.h"

namespace vmeventd {

// Makes sure that `path` is a directory that this process can write. A missing one is created with
// mode 0750, its missing parents with 0755. The error names the directory and why.
absl::Status MakeOwnDirectory(const std::string& path);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_DIRECTORIES_H_
