#include "server/eventlog/file_identity.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "absl/strings/str_cat.h"

namespace vmeventd {

std::string FileIdentity(const std::string& path) {
  struct statx info {};
  if (statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &info) != 0) {
    return "";
  }
  const bool has_birth = (info.stx_mask & STATX_BTIME) != 0;
  const int64_t birth =
      has_birth ? info.stx_btime.tv_sec * 1'000'000'000 + info.stx_btime.tv_nsec : 0;
  return absl::StrCat(info.stx_ino, " ", birth);
}

}  // namespace vmeventd
