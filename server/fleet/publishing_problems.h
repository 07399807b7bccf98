#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace vmeventd {

// Problems of the publishing, for people. Any thread.
class PublishingProblems {
 public:
  enum Of { kEvents, kHeartbeats, kStates };

  // Records the problem; empty: there is none. False: it was recorded already.
  bool Set(Of of, const std::string& problem) {
    const MutexLock lock(&mutex_);
    return std::exchange(problems_[of], problem) != problem;
  }
  // Records that another node, with this journal, publishes under the node's name. False: that was
  // known. It stays recorded, because nothing shows that the other one has ended.
  bool SetOtherNode(const std::string& journal_id, absl::Time now) {
    const MutexLock lock(&mutex_);
    other_seen_ = now;
    return std::exchange(other_journal_id_, journal_id) != journal_id;
  }

  // All of them, on one line; empty: there is none.
  std::string text() const {
    const MutexLock lock(&mutex_);
    std::vector<std::string> there;
    for (const std::string& problem : problems_) {
      if (!problem.empty()) there.push_back(problem);
    }
    if (!other_journal_id_.empty()) {
      there.push_back(absl::StrCat(
          "another vmeventd published under this node's name, last noticed at ",
          absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", other_seen_, absl::UTCTimeZone()),
          " (its journal is ", other_journal_id_, "): give one of them another name by --node"));
    }
    return absl::StrJoin(there, "; ");
  }

 private:
  mutable Mutex mutex_;
  std::array<std::string, 3> problems_ ABSL_GUARDED_BY(mutex_);
  std::string other_journal_id_ ABSL_GUARDED_BY(mutex_);
  absl::Time other_seen_ ABSL_GUARDED_BY(mutex_);  // last time
};

}  // namespace vmeventd
