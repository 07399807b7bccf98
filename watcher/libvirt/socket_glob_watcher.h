#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/patterns.h"

namespace vmeventd {

// Finds the sockets whose paths match patterns with wildcards in any part, by looking once in a
// second. A part before the first wildcard may be a symbolic link, as /var/run is; what a wildcard
// matches, and what lies below, may not. A look is bounded; what takes long is done less often.
// Loop thread.
class SocketGlobWatcher {
 public:
  static constexpr absl::Duration kInterval = absl::Seconds(1);
  // Limits of one look.
  static constexpr size_t kMaxEntries = 32'768;  // of all listed directories together
  static constexpr size_t kMaxSockets = 1'024;

  struct Change {
    int spec = 0;  // index of the pattern
    std::string path;
    bool gone = false;  // or else the socket is there, or another one in its place
  };
  // Called with what each look has found, from Start and timers.
  using Callback = std::function<void(const std::vector<Change>& changes)>;

  // `patterns` are absolute, without empty parts, "." and ".."; one without a wildcard matches
  // nothing. `loop` outlives the watcher.
  SocketGlobWatcher(EventLoop* loop, const std::vector<std::string>& patterns, Callback on_look);
  ~SocketGlobWatcher() { loop_->CancelTimer(&next_); }
  SocketGlobWatcher(const SocketGlobWatcher&) = delete;
  SocketGlobWatcher& operator=(const SocketGlobWatcher&) = delete;

  // Reports the sockets that are there, and from then on what changes.
  void Start();

 private:
  struct Part {
    std::string text;
    bool wild = false;
    bool below_wild = false;  // this part has a wildcard, or one before it has
    Glob glob;
  };
  using Pattern = std::vector<Part>;
  struct Socket {
    int spec = 0;
    std::pair<uint64_t, uint64_t> file;  // device and inode
    int64_t changed_ns = 0;              // another socket may have the inode
    bool operator==(const Socket&) const = default;
  };

  void Scan();
  // Looks in the directory `path` for what part `at` of the pattern matches.
  void Enter(int spec, size_t at, const std::string& path);
  void Look(int spec, size_t at, const std::string& path);
  // Counts something of which there may be no more than `limit`. Returns whether the limit holds.
  bool Count(size_t* count, size_t limit, const char* what);

  EventLoop* const loop_;
  const Callback on_look_;
  std::vector<Pattern> patterns_;
  std::map<std::string, Socket> sockets_;  // reported ones, by path
  TimerId next_;
  // Sockets of the look that is under way.
  std::map<std::string, Socket> found_;
  size_t entries_ = 0;
  size_t new_sockets_ = 0;  // those that were reported included
  bool limited_ = false;
  bool warned_ = false;
};

}  // namespace vmeventd
