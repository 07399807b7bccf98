#ifndef VMEVENTD_SERVER_HOST_DIRECTORIES_H_
#define VMEVENTD_SERVER_HOST_DIRECTORIES_H_

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/status.h"

namespace vmeventd {

// Makes sure that `path` is a directory that this process can write. A missing one is created with
// mode 0750, and given to `group` where that is set; its missing parents with 0755. The error names
// the directory and why.
absl::Status MakeOwnDirectory(const std::string& path, std::optional<gid_t> group = std::nullopt);

// FAILED_PRECONDITION: the directory belongs to another user than the one that this process runs
// as, or everybody or another group may write there. What is kept in such a one cannot be trusted.
absl::Status CheckOwner(const std::string& path);

// FAILED_PRECONDITION: the directory belongs to another user than root or the one that this process
// runs as, or everybody or another group may write there and replace what others have made (the
// sticky bit, as /tmp has it, forbids that). A socket in such a one could be exchanged for somebody
// else's.
absl::Status CheckNobodyElseReplaces(const std::string& path);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_HOST_DIRECTORIES_H_
