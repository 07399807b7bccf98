#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
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
#include "base/unique_fd.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/watch_spec.h"
#include "watcher/qmp/directory_look.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/runs/directory_thread.h"

namespace vmeventd {

// Follows the sockets in the directories of all --watch flags, with one inotify descriptor. Where a
// spec has a directory for each VM, the directories in its root come and go as sockets do.
//
// A directory may be missing, and be removed, renamed, replaced, mounted over and unmounted at any
// time, and so may its parents. inotify reports only some of that. So each path is watched again
// every 10 s, a root every 2 s, and a missing one every second: the kernel numbers watches by
// inode, so another number than before means another directory, which is then read.
//
// The thread of a spec looks at its directories, at most one look at each at a time. A change
// during a look causes another look after it. While the thread hangs, everything found before stays
// known.
//
// Loop thread.
class DirectoryWatcher : public FdHandler {
 public:
  class Delegate {
   public:
    virtual ~Delegate() = default;
    // A socket of spec number `spec` exists; `below` is its path relative to the root. It is new,
    // replaced, changed, or was seen by a scan. May be called again for a socket that the delegate
    // knows.
    virtual void OnSocket(int spec, const std::string& below, const SeenSocket& socket) = 0;
    // The socket `below` of spec number `spec` is gone.
    virtual void OnSocketGone(int spec, const std::string& below) = 0;
    // Everything in the directories of the spec was looked at, for the first time or for the first
    // time after a hang.
    virtual void OnRead(int spec) = 0;
    // Gets the directories as they are now, in the order of the specs, without missing optional
    // ones. Called when `present`, `sockets` or the problem of one of them has changed. A directory
    // that cannot be read, or hangs, is not `present`.
    virtual void OnDirectories(std::vector<v1::WatchedDirectory> directories) = 0;
  };

  struct Counters {
    uint64_t overflows = 0;
    uint64_t rescans = 0;   // directory scans after the first of each spec
    uint64_t left_out = 0;  // times that an entry was refused: its directory had the maximum
  };

  static constexpr size_t kMaxSockets = 20'000;  // in one directory

  // `loop`, `threads` (one for each spec) and `delegate` outlive the watcher. A socket beyond the
  // limit is not followed until a scan finds room for it. The error names the call that failed.
  static absl::StatusOr<std::unique_ptr<DirectoryWatcher>> Create(
      EventLoop* loop, std::vector<WatchSpec> specs, std::vector<DirectoryThread*> threads,
      Delegate* delegate, size_t max_sockets = kMaxSockets);
  ~DirectoryWatcher() override;

  // Sets all watches, then scans all directories and begins to call the delegate. Call it once, at
  // the start.
  void Start();
  // Call it when hangs() of the spec's thread has changed.
  void OnHangChange(int spec);

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
    bool needs_scan = false;   // the next look has to scan
    bool looking = false;      // a look is under way
    bool look_again = false;   // another look has to follow it
    bool unreadable = false;   // the last scan failed
    bool link_logged = false;  // it was logged that links to sockets are not followed
    bool left_out = false;     // the directory has more entries than `entries`
    std::string problem;       // last one logged
    absl::flat_hash_set<std::string> entries;  // its sockets, or the directories in a root
    absl::flat_hash_map<std::string, int>
        numbers;            // numbers of the directories in a root, by entry
    int sockets = 0;        // in a root: the number of sockets of its spec
    std::string unmatched;  // in a root: a socket that does not match

    bool present() const { return watch >= 0 && !unreadable; }
  };

  // The looks of a spec.
  struct Progress {
    int looks = 0;           // under way
    bool read = false;       // all of it was looked at, and it has not hung since
    bool ever_read = false;  // all of it was looked at once
  };

  DirectoryWatcher(EventLoop* loop, std::vector<WatchSpec> specs,
                   std::vector<DirectoryThread*> threads, Delegate* delegate, size_t max_sockets,
                   UniqueFd inotify);

  // An entry's path below the root of its spec.
  std::string BelowRoot(const Directory& directory, const std::string& name) const;
  // Returns whether it has a directory for each VM.
  bool HasDirectories(const Directory& directory) const {
    return directory.entry.empty() && spec(directory).has_directories();
  }
  const WatchSpec& spec(const Directory& directory) const { return specs_[directory.spec]; }
  LookTarget TargetOf(const Directory& directory) const;

  void EvaluateAll(bool scan_always);
  // Watches what is at the directory's path, and scans it if it is another one than before.
  void Evaluate(int number, bool scan_always);
  // Looks at entries of which inotify has reported something.
  void LookAt(int number, std::set<std::string> names);
  void OnEvaluated(int number, const DirectoryLook& look);
  void OnLookedAt(int number, const EntriesLook& look);
  // Calls `look` on the directory's thread, and then `on_seen` on the loop's.
  template <typename Look>
  void BeginLook(int number, Directory* directory, std::function<Look()> look,
                 void (DirectoryWatcher::*on_seen)(int number, const Look& look));
  // Returns the directory of a look that has ended; null: it is not needed any more.
  Directory* EndLook(int number);
  // Call it after the outcome of a look was handled, or the look was dropped.
  void AfterLook(int spec, int number);
  void SetWatch(int number, int watch);
  void DropWatchIfUnused(int watch);
  // Handles the outcome of a scan.
  void OnScan(int number, const DirectoryScan& scan, std::string* problem);
  // Adds an entry. False: there is no room.
  bool AddEntry(Directory* directory, const std::string& name);
  // Reports a socket, or follows a directory, in the entries of a directory.
  void OnEntry(int number, const SeenEntry& entry);
  void RemoveEntry(int number, const std::string& name);
  // Forgets the directory's entries but those in `except`.
  void DropEntries(int number, const absl::flat_hash_set<std::string>& except);
  // Logs at the start that a root does not exist, or that none of its sockets matches.
  void WarnOf(const Directory& root) const;
  void WarnOfLink(Directory* directory, const std::string& name);
  // Logs that a directory has sockets, of which none matches.
  void WarnOfPattern(const Directory& root) const;
  void SetProblem(Directory* directory, std::string problem);
  // Looks again at the directories that are missing or have to be scanned.
  void RetryLater();
  void ScanLater(Directory* directory) {
    directory->needs_scan = true;
    RetryLater();
  }
  void CheckLater();
  void ReportDirectories();

  EventLoop* const loop_;
  const std::vector<DirectoryThread*> threads_;  // by spec
  Delegate* const delegate_;
  const std::shared_ptr<const UniqueFd> inotify_;  // looks share it, and may outlive the watcher
  const std::vector<WatchSpec> specs_;
  std::vector<Progress> progress_;  // by spec
  // Directories by number: a root has the number of its spec, and no number is used twice.
  std::map<int, Directory> directories_;
  int last_number_ = 0;
  absl::flat_hash_map<int, std::vector<int>> users_;  // directories, by their watch
  std::vector<v1::WatchedDirectory> reported_;
  TimerId retry_timer_;
  TimerId check_timer_;
  int checks_ = 0;
  Counter overflows_;
  Counter rescans_;
  Counter left_out_;
};

}  // namespace vmeventd
