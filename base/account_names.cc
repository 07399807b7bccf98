#include "base/account_names.h"

#include <grp.h>
#include <pwd.h>

#include <cstddef>

#include "absl/strings/str_cat.h"

namespace vmeventd {

namespace {

// 16 KiB hold any realistic entry of the databases; for a larger one the number is shown.
constexpr size_t kEntryBytes = 16384;

}  // namespace

std::string UserName(uid_t uid) {
  std::string buffer(kEntryBytes, '\0');
  passwd entry{};
  passwd* found = nullptr;
  getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
  return found == nullptr ? absl::StrCat(uid) : found->pw_name;
}

std::string GroupName(gid_t gid) {
  std::string buffer(kEntryBytes, '\0');
  group entry{};
  group* found = nullptr;
  getgrgid_r(gid, &entry, buffer.data(), buffer.size(), &found);
  return found == nullptr ? absl::StrCat(gid) : found->gr_name;
}

}  // namespace vmeventd
