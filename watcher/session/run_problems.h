#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "watcher/core/problem.h"

namespace vmeventd {

// A problem of a run, and its subject.
struct RunProblem : Problem {
  enum class Subject { kMonitor, kSilence, kRun, kFile, kExit, kUuid, kPath, kDirectory };
  Subject subject = Subject::kMonitor;
};

// The problems of a run, at most one of each subject, and those that the last event published.
// Saved, except `published`. Pure.
struct RunProblems {
  using Subject = RunProblem::Subject;

  std::vector<RunProblem> all;     // by subject
  std::vector<Problem> published;  // as the last event published them

  // Replaces the problem of that subject; an empty `problem` removes it.
  void Set(Subject subject, Problem problem) {
    std::erase_if(all, [&](const RunProblem& known) { return known.subject == subject; });
    if (!problem.empty()) all.push_back({std::move(problem), subject});
    std::ranges::sort(all, {}, &RunProblem::subject);
  }
  // Returns the problem of that subject; empty: it has none.
  Problem Of(Subject subject) const {
    const auto found = std::ranges::find(all, subject, &RunProblem::subject);
    return found == all.end() ? Problem() : Problem(*found);
  }
  // Removes all problems with other subjects.
  void LeaveOnly(Subject subject) {
    std::erase_if(all, [&](const RunProblem& known) { return known.subject != subject; });
  }

  std::vector<Problem> List() const { return {all.begin(), all.end()}; }
  // Returns whether an event is to publish them.
  bool changed() const { return List() != published; }
  void MarkPublished() { published = List(); }
};

}  // namespace vmeventd
