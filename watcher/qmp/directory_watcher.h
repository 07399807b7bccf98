#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/counter.h"
#include "base/event_loop.h"
#include "base/system.h"
#include "watcher/core/specs.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

// Follows the sockets in the directories of all --watch flags, with one inotify descriptor. Where a
// spec has a directory for each VM, the directories in its root come and go as sockets do.
//
// A directory may be missing, and be removed, renamed, replaced, mounted over and unmounted at any
// time, and so may its parents. inotify reports some of that, so each path is watched once more
// every 10 s, and each second while nothing is there: the kernel names a watch by the inode, so
// that another watch than before means another directory, which is read.
//
// Loop thread.
class DirectoryWatcher : public FdHandler {
 public:
  class Delegate {
   public:
    virtual ~Delegate() = default;
    // A socket of spec number `spec` is there, called `below` in its root: new, replaced, changed,
    // or seen by a scan. May be called again for a socket that the delegate knows.
    virtual void OnSocket(int spec, const std::string& below) = 0;
    // It is not there any more.
    virtual void OnSocketGone(int spec, const std::string& below) = 0;
    // The directories as they are now, in the order of the specs, without optional ones that are
    // not there; `present` or `sockets` of one of them differs from the last call. A directory that
    // cannot be read is not `present`.
    virtual void OnDirectories(std::vector<v1::WatchedDirectory> directories) = 0;
  };

  struct Counters {
    uint64_t overflows = 0;
    uint64_t rescans = 0;   // directory scans after the first of each spec
    uint64_t left_out = 0;  // times that a directory had as many sockets as it may
  };

  static constexpr size_t kMaxSockets = 20'000;  // in one directory

  // `loop` and `delegate` outlive the watcher. A socket beyond the limit is not followed until a
  // scan finds room for it. The error names the call that failed.
  static absl::StatusOr<std::unique_ptr<DirectoryWatcher>> Create(EventLoop* loop,
                                                                  std::vector<WatchSpec> specs,
                                                                  Delegate* delegate,
                                                                  size_t max_sockets = kMaxSockets);
  ~DirectoryWatcher() override;

  // Sets all watches, then scans all directories, and calls the delegate, not before. Once, at the
  // start.
  void Start();

  void OnFdReady(uint32_t events) override;
  // Handles whole records as read from the inotify descriptor.
  void Dispatch(absl::string_view bytes);

  // Any thread.
  Counters counters() const { return {overflows_.value(), rescans_.value(), left_out_.value()}; }
  // Returns whether a directory of the specs is there and can be read. Loop thread.
  bool any_present() const;

 private:
  // The root of a spec, or the directory of a VM in it.
  struct Directory {
    Directory(int spec_number, std::string its_path, size_t max)
        : spec(spec_number), path(std::move(its_path)), max_entries(max) {}

    const int spec;
    const std::string path;
    const size_t max_entries;
    std::string entry;  // its name in the root; empty: it is the root
    int watch = -1;     // the kernel gives each inode one, and never one number twice
    bool scanned = false;
    bool needs_scan = false;                        // the next look at its path has to scan
    bool unreadable = false;                        // the last scan failed
    bool link_logged = false;                       // that a link to a socket is not followed
    bool left_out = false;                          // entries are there that are not in `entries`
    std::string problem;                            // last one logged
    absl::flat_hash_set<std::string> entries;       // its sockets; of a root of directories, these
    absl::flat_hash_map<std::string, int> numbers;  // of the directories in a root, by entry
    int sockets = 0;                                // of a root: those of its spec
    std::string unmatched;                          // of a root: a socket that is not one of them

    bool present() const { return watch >= 0 && !unreadable; }
  };

  DirectoryWatcher(EventLoop* loop, std::vector<WatchSpec> specs, Delegate* delegate,
                   size_t max_sockets, UniqueFd inotify);

  // An entry's path below the root of its spec.
  std::string BelowRoot(const Directory& directory, const std::string& name) const;
  // Returns whether it has a directory for each VM.
  bool HasDirectories(const Directory& directory) const {
    return directory.entry.empty() && specs_[directory.spec].has_directories();
  }

  void EvaluateAll(bool scan_always);
  // Watches what is at the directory's path, and scans it if it is another one than before.
  void Evaluate(int number, bool scan_always);
  // Watches what is at `path` by now. Returns -1 if that is no directory or may not be watched.
  int Watch(const std::string& path, std::string* problem) const;
  void SetWatch(int number, int watch);
  void Scan(int number, std::string* problem);
  // Returns whether an entry is to be followed, which is at `path` from the descriptor `at`.
  bool IsWanted(Directory* directory, const std::string& name, int at, const std::string& path);
  // Adds an entry. False: there is no room.
  bool AddEntry(Directory* directory, const std::string& name);
  // Reports a socket, or follows a directory, in the entries of a directory.
  void OnEntry(int number, const std::string& name);
  void RemoveEntry(int number, const std::string& name);
  // Forgets the directory's entries but those in `except`.
  void DropEntries(int number, const absl::flat_hash_set<std::string>& except);
  void Look(int number, const std::string& name);
  void SetProblem(Directory* directory, std::string problem);
  // Reports sockets none of which matches.
  void WarnOfPattern(const Directory& root) const;
  // Looks again at the directories that are missing or have to be scanned.
  void RetryLater();
  void ScanLater(Directory* directory) {
    directory->needs_scan = true;
    RetryLater();
  }
  void CheckLater();
  void ReportDirectories();

  EventLoop* const loop_;
  Delegate* const delegate_;
  const UniqueFd inotify_;
  const std::vector<WatchSpec> specs_;
  // By number: the roots have those of their specs, and no number is used twice.
  std::map<int, Directory> directories_;
  int last_number_ = 0;
  absl::flat_hash_map<int, std::vector<int>> users_;  // directories, by their watch
  std::vector<v1::WatchedDirectory> reported_;
  TimerId retry_timer_;
  TimerId check_timer_;
  Counter overflows_;
  Counter rescans_;
  Counter left_out_;
};

}  // namespace vmeventd
