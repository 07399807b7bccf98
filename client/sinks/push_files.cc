#include "client/sinks/push_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "client/fleet/fleet_message.h"
#include "client/output/files.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMaxState = 64 << 10;

}  // namespace

absl::StatusOr<PushFiles> FilesOf(const PushCommand& command, const std::string& key) {
  if (!command.state_dir.empty()) {
    return PushFiles{std::filesystem::path(command.state_dir + "/").parent_path()};
  }
  if (!command.state_home.empty()) {
    return PushFiles{absl::StrCat(command.state_home, "/vmevents/push/", key)};
  }
  return absl::InvalidArgumentError(
      "push: no directory to save the position in; give --state-dir, or set $HOME");
}

absl::Status MakeDirectory(const PushFiles& files) {
  const std::string shown = EscapeForTerminal(files.directory);
  std::error_code unknown;
  std::filesystem::create_directories(std::filesystem::path(files.directory).parent_path(),
                                      unknown);
  if (mkdir(files.directory.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
    return absl::UnavailableError(absl::StrCat("cannot create ", shown, ": ", strerror(errno)));
  }
  struct stat found {};
  if (stat(files.directory.c_str(), &found) != 0 || (found.st_mode & S_IWOTH) == 0) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      shown,
      " may be written by every user of the host: chmod o-w it, or give another --state-dir"));
}

absl::StatusOr<PushState> ReadState(const PushFiles& files) {
  const absl::StatusOr<std::string> content = ReadPlainFile(files.state(), kMaxState);
  if (!content.ok()) return content.status();
  PushState state;
  if (ParsePayload(*content, &state).ok()) return state;
  return absl::FailedPreconditionError(
      absl::StrCat(EscapeForTerminal(files.state()), " is not the state of a push"));
}

bool IsPushRunning(const PushFiles& files) {
  const UniqueFd lock(open(files.lock().c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  return lock.valid() && flock(lock.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

}  // namespace vmeventd::client
