#ifndef VMEVENTD_WATCHER_RUNS_COMMAND_LINES_H_
#define VMEVENTD_WATCHER_RUNS_COMMAND_LINES_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/counter.h"
#include "watcher/core/qemu_arguments.h"

namespace vmeventd {

// Reads the command lines of processes. Such a read takes pages of the process, which decides how
// long that takes: a page of a file system that it serves itself may never come. So threads of its
// own read, of which each such process can hold one for ever; where all are held, or none can be
// started, nothing is read any more and its callers do without. Loop thread.
class CommandLines {
 public:
  static constexpr int kMaxThreads = 4;
  static constexpr size_t kMaxWaiting = 1024;

  // A read, which nobody has to wait for.
  class Read {
   public:
    bool done() const { return done_; }
    // Once done. Null: it is no QEMU's, or could not be read.
    const QemuArguments* found() const { return found_.get(); }
    // By who reads, once, on any thread.
    void Finish(std::unique_ptr<const QemuArguments> found) {
      found_ = std::move(found);
      done_ = true;
    }

   private:
    std::unique_ptr<const QemuArguments> found_;
    std::atomic<bool> done_ = false;  // then `found_` does not change
  };

  CommandLines();
  // What is being read still is of no use to anybody, and nobody waits for it.
  virtual ~CommandLines();
  CommandLines(const CommandLines&) = delete;
  CommandLines& operator=(const CommandLines&) = delete;

  // Begins to read that of the process `pid`.
  virtual std::shared_ptr<const Read> Begin(int64_t pid);

  // How many were not begun, since too many waited. Any thread.
  uint64_t left_out() const { return left_out_.value(); }

 private:
  struct State;
  void StartThread();
  static void Work(const std::shared_ptr<State>& state);

  const std::shared_ptr<State> state_;
  Counter left_out_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_RUNS_COMMAND_LINES_H_
