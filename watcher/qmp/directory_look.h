#pragma once

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "watcher/core/watch_spec.h"
#include "watcher/qmp/socket_file.h"

namespace vmeventd {

// Looks at a directory of a --watch: the root of a spec, or the directory of a VM in it. The file
// system may hang: call LookAtDirectory() and LookAtEntries() on the directory's DirectoryThread.
// They use nothing but their arguments.

struct LookTarget {
  std::string path;
  WatchSpec spec;
  bool has_directories = false;  // it is a root, whose entries are the directories of VMs
};

// A socket or, in a root with directories, a directory that matches the spec.
struct SeenEntry {
  std::string name;
  SeenSocket socket;  // empty for a directory
};

// What a directory has.
struct DirectoryScan {
  bool opened = false;           // the members below are set
  bool complete = false;         // nothing is missing in `known`
  std::vector<SeenEntry> known;  // entries that were known before
  std::vector<SeenEntry> fresh;  // others
  std::string unmatched;         // a socket that does not match; empty: none was seen
  std::string link;              // a link to a socket, which is not followed; empty: none was seen
};

struct ScanRequest {
  absl::flat_hash_set<std::string> known;  // entries that were there before
  size_t max_fresh = 0;                    // maximum number of others that the scan returns
};

struct DirectoryLook {
  // The inotify watch of what is at the path by now; -1: it is no directory, or cannot be watched.
  int watch = -1;
  std::string problem;  // why the directory cannot be watched or read; empty: it can, or is missing
  std::optional<DirectoryScan> scan;  // unset: none was requested, or there is no watch
};

// Sets a watch of `inotify` on what is at the path, and then scans it, so that every later change
// is reported. Without a request it only sets the watch.
DirectoryLook LookAtDirectory(int inotify, const LookTarget& directory,
                              const std::optional<ScanRequest>& request);

// What became of some entries.
struct EntriesLook {
  std::vector<SeenEntry> there;
  std::vector<std::string> gone;  // also what is there and does not match
  std::string link;               // as in a scan
};

EntriesLook LookAtEntries(const LookTarget& directory, const std::set<std::string>& names);

// Returns the path of an entry. Reads nothing.
std::string EntryPath(const std::string& directory, const std::string& name);

}  // namespace vmeventd
