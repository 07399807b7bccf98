#ifndef VMEVENTD_BASE_THREAD_ROLE_H_
#define VMEVENTD_BASE_THREAD_ROLE_H_

#include "absl/base/thread_annotations.h"

namespace vmeventd {

// A thread, as Clang's thread-safety analysis knows it: what is ABSL_GUARDED_BY a role is touched
// by that thread alone, and the compiler finds who else does. Costs nothing when it runs.
class ABSL_LOCKABLE ThreadRole {};

// The code in whose scope it stands runs on that thread, or in its stead while it does not run.
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

#endif  // VMEVENTD_BASE_THREAD_ROLE_H_
