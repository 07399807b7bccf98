#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "base/counter.h"
#include "base/detached_threads.h"
#include "base/mutex.h"
#include "watcher/runs/command_line_read.h"
#include "watcher/runs/named_monitors.h"

namespace vmeventd {

// Reads the command lines of processes. Such a read needs memory pages of the process, which
// decides how long that takes: a page of a file system that it serves itself may never come. So
// extra threads read, and each such process can block one of them for ever. If all are blocked, or
// none can be started, nothing more is read, and callers get no result. Used by one thread at a
// time.
class CommandLines {
 public:
  static constexpr int kMaxThreads = 4;
  static constexpr size_t kMaxWaiting = 1024;

  CommandLines();
  virtual ~CommandLines() = default;
  CommandLines(const CommandLines&) = delete;
  CommandLines& operator=(const CommandLines&) = delete;

  // Begins to read the command line of the process `pid`, unless a read of it is under way.
  virtual std::shared_ptr<const CommandLineRead> Begin(int64_t pid);

  // Begins to read the command lines of all processes for the monitors that they name; processes
  // with a QEMU's name come first. Skips a process that another such read waits for.
  virtual std::shared_ptr<const NamedMonitors> BeginMonitors();

  // Number of reads that were not begun because too many waited. Any thread.
  uint64_t left_out() const { return left_out_.value(); }

 private:
  // Reads that wait or are under way, by pid: a process holds one thread of each kind at most.
  struct UnderWay {
    Mutex mutex;
    absl::flat_hash_map<int64_t, std::shared_ptr<CommandLineRead>> reads ABSL_GUARDED_BY(mutex);
    absl::flat_hash_set<int64_t> read_for_monitors ABSL_GUARDED_BY(mutex);
    std::shared_ptr<NamedMonitors> next_monitors ABSL_GUARDED_BY(mutex);  // not begun
  };
  static void ReadMonitors(UnderWay* under_way, NamedMonitors* monitors);

  const std::shared_ptr<UnderWay> under_way_ = std::make_shared<UnderWay>();
  DetachedThreads threads_;
  Counter left_out_;
};

}  // namespace vmeventd
