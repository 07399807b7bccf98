#include "server/fleet/publishing_problems.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace vmeventd {

bool PublishingProblems::Set(Of of, const std::string& problem) {
  const MutexLock lock(&mutex_);
  return std::exchange(problems_[of], problem) != problem;
}

void PublishingProblems::Clear(Of of) {
  const MutexLock lock(&mutex_);
  problems_[of].clear();
}

bool PublishingProblems::SetOtherNode(const std::string& journal_id, absl::Time now) {
  const MutexLock lock(&mutex_);
  other_seen_ = now;
  return std::exchange(other_journal_id_, journal_id) != journal_id;
}

std::string PublishingProblems::text() const {
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

}  // namespace vmeventd
