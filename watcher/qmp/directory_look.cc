#include "watcher/qmp/directory_look.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/errno_status.h"

namespace vmeventd {
namespace {

constexpr uint32_t kMask = IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF |
                           IN_MOVE_SELF | IN_ATTRIB | IN_ONLYDIR;

std::string Failed(absl::string_view what, const std::string& path, int error) {
  return absl::StrCat("cannot ", what, " ", absl::CHexEscape(path), ": ", ErrnoText(error));
}

// Adds an inotify watch for `path`, whatever it is by now. Returns -1 if it is not a directory or
// cannot be watched.
int WatchPath(int inotify, const std::string& path, std::string* problem) {
  struct stat status;
  if (fstatat(AT_FDCWD, path.c_str(), &status, 0) == 0 && status.st_nlink == 0) {
    *problem = absl::StrCat(absl::CHexEscape(path),
                            " was removed on the host side of its mount, and a directory created "
                            "there since is not visible here: mount its parent instead");
    return -1;
  }
  const int watch = inotify_add_watch(inotify, path.c_str(), kMask);
  if (watch < 0 && errno != ENOENT && errno != ENOTDIR) *problem = Failed("watch", path, errno);
  return watch;
}

// Returns whether an entry, which is at `path` relative to the descriptor `at`, should be followed.
bool IsWanted(const LookTarget& directory, const std::string& name, int at, const std::string& path,
              SeenSocket* socket, std::string* link) {
  struct stat status;
  if (directory.has_directories) {
    return directory.spec.DirectoryOf(name).has_value() &&
           fstatat(at, path.c_str(), &status, 0) == 0 && S_ISDIR(status.st_mode);
  }
  if (!directory.spec.TakesFile(name)) return false;
  const int error = LookAtSocket(path, socket, at);
  if (error == ENOTSOCK && fstatat(at, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
      S_ISLNK(status.st_mode) && fstatat(at, path.c_str(), &status, 0) == 0 &&
      S_ISSOCK(status.st_mode)) {
    *link = name;
  }
  return error == 0;
}

// Handles an entry of a listing; `at` is the directory's descriptor.
void AddEntry(const LookTarget& directory, const ScanRequest& request, int at, const dirent& entry,
              DirectoryScan* scan) {
  SeenEntry seen{.name = entry.d_name};
  if (seen.name == "." || seen.name == "..") return;
  const auto type = directory.has_directories ? DT_DIR : DT_SOCK;
  if (entry.d_type != type && entry.d_type != DT_UNKNOWN && entry.d_type != DT_LNK) return;
  if (!IsWanted(directory, seen.name, at, seen.name, &seen.socket, &scan->link)) {
    if (entry.d_type == DT_SOCK) scan->unmatched = seen.name;
  } else if (request.known.contains(seen.name)) {
    scan->known.push_back(std::move(seen));
  } else if (scan->fresh.size() < request.max_fresh) {
    scan->fresh.push_back(std::move(seen));
  }
}

DirectoryScan ReadDirectory(const LookTarget& directory, const ScanRequest& request,
                            std::string* problem) {
  DirectoryScan scan;
  DIR* const stream = opendir(directory.path.c_str());
  if (stream == nullptr) {
    *problem = Failed("read", directory.path, errno);
    return scan;
  }
  scan.opened = true;
  while (true) {
    errno = 0;  // it stays 0 at the end of the directory
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own.
    const dirent* const entry = readdir(stream);
    if (entry == nullptr) break;
    AddEntry(directory, request, dirfd(stream), *entry, &scan);
  }
  const int error = errno;
  scan.complete = error == 0;
  if (!scan.complete) *problem = Failed("read all of", directory.path, error);
  closedir(stream);
  return scan;
}

}  // namespace

DirectoryLook LookAtDirectory(int inotify, const LookTarget& directory,
                              const std::optional<ScanRequest>& request) {
  DirectoryLook look;
  look.watch = WatchPath(inotify, directory.path, &look.problem);
  if (look.watch >= 0 && request.has_value()) {
    look.scan = ReadDirectory(directory, *request, &look.problem);
  }
  return look;
}

EntriesLook LookAtEntries(const LookTarget& directory, const std::set<std::string>& names) {
  EntriesLook look;
  for (const std::string& name : names) {
    SeenEntry entry{.name = name};
    if (IsWanted(directory, name, AT_FDCWD, EntryPath(directory.path, name), &entry.socket,
                 &look.link)) {
      look.there.push_back(std::move(entry));
    } else {
      look.gone.push_back(name);
    }
  }
  return look;
}

std::string EntryPath(const std::string& directory, const std::string& name) {
  return absl::StrCat(absl::StripSuffix(directory, "/"), "/", name);
}

}  // namespace vmeventd
