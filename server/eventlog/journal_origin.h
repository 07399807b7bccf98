#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "server/eventlog/sqlite.h"

// Detects whether the journal's files are a copy that was put in their place: a restored back-up,
// which has forgotten sequences that clients have seen. Two traces are compared with what
// the journal itself says. A file that was made again has another inode or another time of birth.
// And each start leaves an empty file beside the journal, PATH.generation-UUID, in the place of the
// one before: what was copied over the files in place meets one that it does not know. A whole file
// system that was rolled back leaves no trace.

namespace vmeventd {

// A journal's word on its own files: two values of its table `meta`. Empty: none, as one of an
// earlier version.
struct JournalOrigin {
  std::string file;         // inode and time of birth
  std::string generations;  // the generations that may be found, separated by spaces
};

// Returns why the journal at `path`, which is open, is a copy; empty: it is not.
absl::StatusOr<std::string> WhyCopied(SqliteDatabase* database, const std::string& path);

// Contents for the journal at `path` before `generation` begins.
JournalOrigin OriginWith(const std::string& path, const std::string& generation);
// Leaves the file of `generation` beside the journal, and removes those of others. If it cannot be
// created, on a full disk, they stay.
void BeginGeneration(const std::string& path, const std::string& generation);

// Identity of the file that a path names.
struct FileKey {
  bool known = false;  // false: it cannot be found out
  dev_t device = 0;
  ino_t inode = 0;  // 0: there is none
};
FileKey FileKeyOf(const std::string& path);
// Returns whether the path that gave `now` names another file than the one that gave `before`, or
// none. False if that is not known, or there was none before.
bool IsOtherFile(const FileKey& before, const FileKey& now);

}  // namespace vmeventd
