#pragma once

#include <cstddef>
#include <cstdint>
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
#include "base/shared_text.h"
#include "base/unique_fd.h"
#include "watcher/core/vm_event.h"
#include "watcher/core/watch_spec.h"

namespace vmeventd {

// The names of the sockets in one directory, bounded in all and for each owner, so that one user
// who may make sockets there cannot keep the others' VMs from being followed. Loop thread.
class SocketSet {
 public:
  struct Limits {
    size_t directory = 20'000;
    size_t owner = 15'000;
  };
  enum class Result { kAdded, kOwnerFull, kDirectoryFull };

  explicit SocketSet(const Limits& limits) : limits_(limits) {}

  // Adds `name`. A name that is there already stays, whatever `owner` has by now.
  Result Add(absl::string_view name, uint32_t owner) {
    const auto known = owners_.find(SharedText(name));
    if (known == owners_.end()) {
      if (owners_.size() >= limits_.directory) return Result::kDirectoryFull;
      const auto sockets = sockets_.find(owner);
      if (sockets != sockets_.end() && sockets->second >= limits_.owner) return Result::kOwnerFull;
    } else if (known->second == owner) {
      return Result::kAdded;
    } else {
      Remove(name);
    }
    owners_.emplace(SharedText(name), owner);
    ++sockets_[owner];
    return Result::kAdded;
  }

  // Removes `name`. Returns whether it was there.
  bool Remove(absl::string_view name) {
    const auto it = owners_.find(SharedText(name));
    if (it == owners_.end()) return false;
    if (--sockets_[it->second] == 0) sockets_.erase(it->second);
    owners_.erase(it);
    return true;
  }

  bool contains(absl::string_view name) const { return owners_.contains(SharedText(name)); }
  size_t size() const { return owners_.size(); }
  const Limits& limits() const { return limits_; }
  const absl::flat_hash_map<SharedText, uint32_t>& owners() const { return owners_; }  // by name

 private:
  const Limits limits_;
  absl::flat_hash_map<SharedText, uint32_t> owners_;
  absl::flat_hash_map<uint32_t, size_t> sockets_;  // keyed by owner
};

// One record of inotify(7).
struct InotifyEvent {
  int watch = -1;     // the watch descriptor; -1 with IN_Q_OVERFLOW
  uint32_t mask = 0;  // IN_*
  std::string name;   // the directory's entry; empty if the event is about the directory itself
};

// Cuts what one read() of an inotify descriptor returned into events. What is left of a record
// that is cut off is ignored: the kernel gives whole records only.
std::vector<InotifyEvent> ParseInotifyEvents(absl::string_view bytes);

// Follows the sockets in the directories of all --watch flags, with one inotify descriptor.
//
// A directory may be missing, and be removed, renamed, replaced, mounted over and unmounted at any
// time, and so may its parents. Therefore every directory on the way to it is watched as well, for
// changes of the next name on the way; a symbolic link on the way is followed the same way, by
// its target's directories. QEMU's bound socket pins its directory, so that a directory that was
// removed does not say so itself: its parent does. No directory is held open for that reason.
// A mount over a watched directory gives no inotify event: /proc/self/mountinfo shows it.
//
// Loop thread.
class DirectoryWatcher : public FdHandler {
 public:
  class Delegate {
   public:
    virtual ~Delegate() = default;
    // A socket of spec number `spec` is there: new, replaced, changed, or seen by a scan. May be
    // called again for a socket that the delegate knows.
    virtual void OnSocket(int spec, const std::string& file_name) = 0;
    // It is not there any more.
    virtual void OnSocketGone(int spec, const std::string& file_name) = 0;
    // The directories as they are now, in the order of the specs; `present` or `sockets` of one of
    // them differs from the last call.
    virtual void OnDirectories(std::vector<WatchedDirectory> directories) = 0;
  };

  struct Counters {
    uint64_t overflows = 0;
    uint64_t rescans = 0;  // directory scans after the first of each spec
    // Times that a socket was left out because its owner or its directory had as many as it may.
    uint64_t over_owner_limit = 0;
    uint64_t over_directory_limit = 0;
  };

  // `loop` and `delegate` outlive the watcher. A socket beyond `limits` is left out, and found by a
  // scan once others are gone. The error names the call that failed.
  static absl::StatusOr<std::unique_ptr<DirectoryWatcher>> Create(EventLoop* loop,
                                                                  std::vector<WatchSpec> specs,
                                                                  Delegate* delegate,
                                                                  SocketSet::Limits limits = {});
  ~DirectoryWatcher() override;

  // Sets all watches, then scans all directories, and calls the delegate, not before. Once, at the
  // start.
  void Start();

  void OnFdReady(uint32_t events) override;
  // Handles bytes as read from the inotify descriptor.
  void Dispatch(absl::string_view bytes);

  // Any thread.
  Counters counters() const {
    return {overflows_.value(), rescans_.value(), over_owner_limit_.value(),
            over_directory_limit_.value()};
  }
  // Returns whether a directory of the specs is there. Loop thread.
  bool any_present() const;

 private:
  // Purpose of a watch: a spec, and the name in that directory that is the next one on its way;
  // empty for the spec's directory itself.
  struct Use {
    int spec;
    std::string next_name;
  };
  struct Spec {
    Spec(WatchSpec watch_spec, const SocketSet::Limits& limits)
        : watch(std::move(watch_spec)), sockets(limits) {}

    WatchSpec watch;
    std::vector<int> watches;  // on the way to the directory, and its own
    int directory_watch = -1;  // the kernel gives each inode one, and never one number twice
    bool scanned = false;
    bool needs_retry = false;  // a watch on the way could not be set
    bool needs_scan = false;   // the retry has to scan
    bool left_out = false;     // sockets are there that are not in `sockets`
    std::string problem;       // last one logged
    SocketSet sockets;
  };

  DirectoryWatcher(EventLoop* loop, std::vector<WatchSpec> specs, Delegate* delegate,
                   const SocketSet::Limits& limits, UniqueFd inotify, UniqueFd mounts);

  // The watches to a directory, each with the name that is the next one there.
  using Way = std::vector<std::pair<int, std::string>>;

  void EvaluateAll(bool scan_always);
  // Evaluates spec number `index`. Rebuilds the watches on its way; scans if its directory is
  // another than before.
  void Evaluate(int index, bool scan_always);
  // Walks from "/" to the directory, watching each directory before it looks into it. Returns the
  // directory's watch, -1 if it is not there or may not be watched.
  int WalkTo(int index, Way* way, std::string* problem);
  void ReplaceWay(int index, const Way& way);
  void Scan(int index, std::string* problem);
  // Adds a socket to a set of that spec's. False: it is left out.
  bool AddSocket(int index, SocketSet* sockets, const std::string& name, uint32_t owner);
  void RemoveSocket(int index, const std::string& name);
  // Forgets the spec's sockets but those in `except`.
  void DropSockets(int index, const absl::flat_hash_set<std::string>& except);
  void Look(int index, const std::string& name);
  void SetProblem(int index, std::string problem);
  void ArmRetry();
  void ReportDirectories();

  EventLoop* const loop_;
  Delegate* const delegate_;
  const UniqueFd inotify_;
  const UniqueFd mounts_;  // /proc/self/mountinfo; invalid where there is none
  std::vector<Spec> specs_;
  absl::flat_hash_map<int, std::vector<Use>> uses_;  // keyed by watch
  std::vector<WatchedDirectory> reported_;
  TimerId retry_timer_;
  bool started_ = false;
  Counter overflows_;
  Counter rescans_;
  Counter over_owner_limit_;
  Counter over_directory_limit_;
};

}  // namespace vmeventd
