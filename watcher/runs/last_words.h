#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "base/counter.h"
#include "base/detached_threads.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/process_end.h"
#include "watcher/core/run_info.h"

namespace vmeventd {

// Reads what QEMUs wrote last, and what else is left of a process that is gone: in the logs of
// managers, systemd's journal, and the files of standard errors. A file system decides how long
// that takes, so extra threads read, and nobody has to wait for them. Used by one thread at a time.
class LastWordsReader {
 public:
  static constexpr int kMaxThreads = 8;
  static constexpr size_t kMaxWaiting = 1024;
  // Longest time that a reader looks for words, which systemd and libvirt may write late.
  static constexpr absl::Duration kPatience = absl::Milliseconds(150);

  // `max_files`: limit of descriptors that its trails hold.
  explicit LastWordsReader(int max_files, absl::Duration patience = kPatience);

  // The files of a process that were opened while it lived.
  struct Trail;
  // Begins to look at the process of `run`, which lives.
  std::shared_ptr<const Trail> Begin(const RunInfo& run);
  // Returns whether that look has ended.
  static bool IsReady(const Trail& trail);

  // A read in the background.
  struct Read {
    std::string core;          // path of its core; set at once, because that needs no file system
    v1::ShutdownDetail facts;  // its last words and numbers; once done
    std::atomic<bool> done = false;  // set last: then `facts` does not change
  };
  // Begins to read what the process of `run`, which ended with `status`, has left. `trail` may be
  // null.
  std::shared_ptr<const Read> BeginRead(const RunInfo& run, const std::optional<ExitStatus>& status,
                                        std::shared_ptr<const Trail> trail);

  // Number of looks and reads that were not begun because too many waited. Any thread.
  uint64_t left_out() const { return left_out_.value(); }

 private:
  const absl::Duration patience_;
  const std::shared_ptr<std::atomic<int>> files_left_;
  DetachedThreads threads_;
  Counter left_out_;
};

}  // namespace vmeventd
