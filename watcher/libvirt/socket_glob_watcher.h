#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/glob.h"
#include "watcher/runs/directory_thread.h"

namespace vmeventd {

// Finds the sockets whose paths match patterns with wildcards in any part. Looks once a second, on
// its own thread. A part before the first wildcard may be a symbolic link, as /var/run is; a part
// that a wildcard matches, or that follows one, may not. Each look is bounded; slow ones are made
// less often. While one hangs, the sockets found before stay known. Loop thread.
class SocketGlobWatcher {
 public:
  static constexpr absl::Duration kInterval = absl::Seconds(1);
  // Limits of one look.
  static constexpr size_t kMaxEntries = 32'768;  // in all listed directories together
  static constexpr size_t kMaxSockets = 1'024;

  struct Change {
    int spec = 0;  // index of the pattern
    std::string path;
    bool gone = false;  // false: the socket is there, or another one replaced it
  };
  // Called with what each look has found, from Start and the loop.
  using Callback = std::function<void(const std::vector<Change>& changes)>;

  // `patterns` are absolute, without empty parts, "." and ".."; one without a wildcard matches
  // nothing. `loop` outlives the watcher.
  SocketGlobWatcher(EventLoop* loop, const std::vector<std::string>& patterns,
                    absl::Duration patience, Callback on_look);
  ~SocketGlobWatcher() { loop_->CancelTimer(&next_); }
  SocketGlobWatcher(const SocketGlobWatcher&) = delete;
  SocketGlobWatcher& operator=(const SocketGlobWatcher&) = delete;

  // Reports the sockets that exist, and from then on each change.
  void Start();
  // Returns whether a look was done, or there is no pattern to look for.
  bool looked() const { return looked_; }
  // Returns whether a look hangs. Any thread.
  bool hangs() const { return hangs_; }

 private:
  struct Part {
    std::string text;
    bool wild = false;
    bool below_wild = false;  // this part or an earlier one has a wildcard
    Glob glob;
  };
  using Pattern = std::vector<Part>;
  struct Socket {
    int spec = 0;
    std::pair<uint64_t, uint64_t> file;  // device and inode
    int64_t changed_ns = 0;              // another socket may have the inode
    bool operator==(const Socket&) const = default;
  };
  using Sockets = std::map<std::string, Socket>;  // by path
  // One search for sockets, on the thread.
  class Look;

  void Scan();
  void OnLook(Sockets found, std::string limited, absl::Duration took);

  EventLoop* const loop_;
  const Callback on_look_;
  std::shared_ptr<const std::vector<Pattern>> patterns_;
  std::atomic<bool> hangs_ = false;  // that of `thread_`
  DirectoryThread thread_;
  Sockets sockets_;  // reported ones
  TimerId next_;
  bool looked_ = false;
  bool warned_ = false;  // it was logged that the last look met a limit
};

}  // namespace vmeventd
