#pragma once

#include "absl/base/thread_annotations.h"

namespace vmeventd {

// Represents a thread for Clang's thread-safety analysis: only that thread may access data that is
// ABSL_GUARDED_BY the role; the compiler reports any other access. No cost at run time.
class ABSL_LOCKABLE ThreadRole {};

// Declares that the enclosing scope runs on that thread, or while that thread does not run.
class ABSL_SCOPED_LOCKABLE OnThread {
 public:
  explicit OnThread(const ThreadRole* role) ABSL_EXCLUSIVE_LOCK_FUNCTION(role) {
    static_cast<void>(role);
  }
  // NOLINTNEXTLINE(modernize-use-equals-default): it has an attribute
  ~OnThread() ABSL_UNLOCK_FUNCTION() {}
  OnThread(const OnThread&) = delete;
  OnThread& operator=(const OnThread&) = delete;
};

}  // namespace vmeventd
