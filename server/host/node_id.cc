#include "server/host/node_id.h"

#include <fcntl.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "base/uuid.h"

namespace vmeventd {
namespace {

// Makes a file with a new id. After a crash half a file may remain: it is not a valid id, and the
// next start makes a new one.
absl::StatusOr<std::string> MakeIdFile(const std::string& path) {
  const std::string id = RandomUuid();
  const std::string text = absl::StrCat(id, "\n");
  const UniqueFd fd(
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640));
  if (!fd.valid()) return ErrnoStatus(path, "cannot be created", errno);
  errno = ENOSPC;  // the usual reason for a short write
  if (write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      fsync(fd.get()) != 0) {
    return ErrnoStatus(path, "cannot be written", errno);
  }
  return id;
}

}  // namespace

absl::StatusOr<std::string> StoredNodeId(const std::string& state_dir) {
  const std::string path = state_dir + "/node_id";
  const absl::StatusOr<std::string> stored = ReadSmallFile(path);
  if (stored.ok()) {
    const absl::string_view id = absl::StripAsciiWhitespace(*stored);
    if (ParseUuid(id).has_value()) return std::string(id);
  }
  return MakeIdFile(path);
}

absl::StatusOr<std::string> NodeId(const std::string& state_dir) {
  sd_id128_t application{};
  sd_id128_t id{};
  sd_id128_from_string("cfa051b179e349de98d50d35ed0d0b37", &application);
  if (sd_id128_get_machine_app_specific(application, &id) < 0) return StoredNodeId(state_dir);
  char text[SD_ID128_UUID_STRING_MAX];
  return sd_id128_to_uuid_string(id, text);
}

}  // namespace vmeventd
