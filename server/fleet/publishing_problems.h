#pragma once

#include <array>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace vmeventd {

// Problems of the publishing, for people. Any thread.
class PublishingProblems {
 public:
  enum Of { kEvents, kHeartbeats, kStates };

  // Records the problem. False: it was recorded already.
  bool Set(Of of, const std::string& problem);
  void Clear(Of of);
  // Records that another node, with this journal, publishes under the node's name. False: that was
  // known. It stays recorded, because nothing shows that the other one has ended.
  bool SetOtherNode(const std::string& journal_id, absl::Time now);

  // All of them, on one line; empty: there is none.
  std::string text() const;

 private:
  mutable Mutex mutex_;
  std::array<std::string, 3> problems_ ABSL_GUARDED_BY(mutex_);
  std::string other_journal_id_ ABSL_GUARDED_BY(mutex_);
  absl::Time other_seen_ ABSL_GUARDED_BY(mutex_);  // last time
};

}  // namespace vmeventd
