#ifndef VMEVENTD_WATCHER_LIBVIRT_SOCKET_GLOB_WATCHER_H_
#define VMEVENTD_WATCHER_LIBVIRT_SOCKET_GLOB_WATCHER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/glob.h"
#include "base/unique_fd.h"
#include "watcher/loop/event_loop.h"
#include "watcher/loop/inotify_events.h"

namespace vmeventd {

// Finds the sockets whose paths match patterns with wildcards in any part, by inotify on every
// directory on the way: those that are there, and those that come and go. A part before the first
// wildcard may be a symbolic link, as /var/run is; what a wildcard matches, and what lies below,
// may not. Loop thread.
class SocketGlobWatcher : public FdHandler {
 public:
  static constexpr size_t kMaxDirectories = 8'192;
  static constexpr size_t kMaxSockets = 1'024;

  // Called from Start, the loop and timers.
  class Delegate {
   public:
    virtual ~Delegate() = default;
    // The socket `path` of pattern `spec` is there, or another one in its place.
    virtual void OnSocketPath(int spec, const std::string& path) = 0;
    virtual void OnSocketPathGone(int spec, const std::string& path) = 0;
  };

  // `patterns` are absolute, without empty parts, "." and ".."; an empty one matches nothing. Both
  // pointers outlive the watcher. The error names the call that failed.
  static absl::StatusOr<std::unique_ptr<SocketGlobWatcher>> Create(
      EventLoop* loop, const std::vector<std::string>& patterns, Delegate* delegate);
  ~SocketGlobWatcher() override;

  // Reports the sockets that are there.
  void Start();

  void OnFdReady(uint32_t events) override;

 private:
  struct Part {
    std::string text;
    bool wild = false;
    bool below_wild = false;  // this part has a wildcard, or one before it has
    Glob glob;
  };
  // The next part of pattern `spec` to look for in a directory.
  struct Place {
    int spec;
    size_t part;
    // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes the 0 of <=> for a pointer.
    auto operator<=>(const Place&) const = default;
  };
  struct Directory {
    int watch = -1;  // inotify's; -1: none could be had
    std::set<Place> places;
  };

  SocketGlobWatcher(EventLoop* loop, const std::vector<std::string>& patterns, Delegate* delegate,
                    UniqueFd inotify);

  // Looks for `place` in the directory `path`.
  void Enter(const std::string& path, Place place);
  // Looks whether the entry `name` of the directory matches.
  void Look(const std::string& directory, Place place, const std::string& name);
  void OnEvent(const InotifyEvent& event);
  void Unwatch(const std::string& path, int watch);
  // Forgets what lies at or below `path`.
  void Leave(const std::string& path);
  // Finds out again what is there, after events were lost or a directory could not be watched.
  void Rescan();
  void RescanLater(const std::string& why);

  EventLoop* const loop_;
  Delegate* const delegate_;
  const UniqueFd inotify_;
  std::vector<std::vector<Part>> patterns_;
  std::map<std::string, Directory> directories_;              // by path
  absl::flat_hash_map<int, std::set<std::string>> by_watch_;  // paths of one directory
  std::map<std::string, int> sockets_;                        // that were reported: path and spec
  TimerId rescan_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_LIBVIRT_SOCKET_GLOB_WATCHER_H_
