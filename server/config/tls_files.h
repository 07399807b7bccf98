#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/detached_threads.h"
#include "base/mutex.h"
#include "base/openssl_ptr.h"
#include "base/pending_call.h"
#include "server/config/tls_material.h"
#include "server/config/tls_paths.h"

namespace vmeventd {

// The newest valid contents of the files, which others replace while the daemon runs. Has no timer:
// each handshake calls Current(), and the files are read if they have changed. Invalid contents
// (such as a half replaced pair) and a file system that does not answer are logged, and the
// previous contents stay in use. Any thread.
class TlsFiles {
 public:
  // Longest wait of a handshake for the file system: all clients connect on its thread.
  static constexpr absl::Duration kPatience = absl::Milliseconds(10);

  static absl::StatusOr<std::unique_ptr<TlsFiles>> Open(const TlsPaths& paths, const Clock* clock,
                                                        absl::Duration patience = kPatience);

  // Never null. Looks at the files at most once a second, and waits at most `patience` for that:
  // what a slower look finds is used from a later call on.
  std::shared_ptr<const TlsMaterial> Current();
  // Reads the files now, and waits at most 2 s for that. The error is the reason why the old
  // contents stay in use.
  absl::Status Reload();

  // Returns whether the files could be read when looked at last, and were valid; if not, earlier
  // contents are in use.
  bool usable() const {
    const MutexLock lock(&mutex_);
    return usable_ && !hangs_;
  }
  uint64_t reload_failures() const { return reload_failures_.value(); }

 private:
  // Result of a look.
  struct Found {
    std::string fingerprint;
    std::optional<absl::StatusOr<TlsMaterial>> contents;  // unset: nothing has changed
  };

  TlsFiles(TlsPaths paths, const Clock* clock, absl::Duration patience);
  // Reads the files unless they are the ones of `known`.
  static Found Look(const TlsPaths& paths, const std::string& known);
  // Looks, on the thread, at what differs from `known`, and uses what was found. Logs and counts
  // contents that are not valid. DEADLINE_EXCEEDED: the look is under way.
  absl::Status LookLocked(const std::string& known, absl::Duration patience)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LogHang() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UseLocked(TlsMaterial material) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const TlsPaths paths_;
  const Clock* const clock_;
  const absl::Duration patience_;
  Counter reload_failures_;
  mutable Mutex mutex_;
  std::shared_ptr<const TlsMaterial> material_ ABSL_GUARDED_BY(mutex_);
  std::string fingerprint_ ABSL_GUARDED_BY(mutex_);  // of the files as last read
  DetachedThreads threads_;
  PendingCall<Found> look_ ABSL_GUARDED_BY(mutex_);
  bool usable_ ABSL_GUARDED_BY(mutex_) = true;
  bool hangs_ ABSL_GUARDED_BY(mutex_) =
      false;  // it was logged that the file system does not answer
  absl::Duration looked_at_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
};

}  // namespace vmeventd
