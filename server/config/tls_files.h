#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/mutex.h"
#include "base/openssl_ptr.h"

namespace vmeventd {

// The files of --tls-cert, --tls-key and --tls-client-ca. An empty client_ca: clients need no
// certificate.
struct TlsPaths {
  std::string cert;
  std::string key;
  std::string client_ca;
};

// The contents of those files, checked: a certificate, its key, the authorities for clients.
struct TlsMaterial {
  std::shared_ptr<SSL_CTX> context;  // never null; for handshakes of any thread
  std::string subject;               // the certificate's, for people
  absl::Time not_before;
  absl::Time not_after;
};

// Reads and checks the files. INVALID_ARGUMENT, or the error of reading, names the flag, the file,
// the fault and the rule. Faults include those that make OpenSSL refuse every client, such as a
// weak key. An expired certificate is no error: the daemon's other listeners still work.
absl::StatusOr<TlsMaterial> LoadTlsMaterial(const TlsPaths& paths);

// The newest valid contents of the files, which others replace while the daemon runs. Has no thread
// and no timer: each handshake calls Current(), and the files are read if they have changed.
// Invalid contents (such as a half replaced pair) are logged, and the previous ones stay in use.
// Any thread.
class TlsFiles {
 public:
  static absl::StatusOr<std::unique_ptr<TlsFiles>> Open(const TlsPaths& paths, const Clock* clock);

  // Never null. Looks at the files at most once a second.
  std::shared_ptr<const TlsMaterial> Current();
  // Looks at the files now. The error is the reason why the old contents stay in use.
  absl::Status Reload() {
    const MutexLock lock(&mutex_);
    return ReadAgainLocked();
  }

  // Returns whether the files were valid when read last; if not, earlier contents are in use.
  bool usable() const {
    const MutexLock lock(&mutex_);
    return usable_;
  }
  uint64_t reload_failures() const { return reload_failures_.value(); }

 private:
  TlsFiles(TlsPaths paths, const Clock* clock) : paths_(std::move(paths)), clock_(clock) {}
  absl::Status ReadLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Reads the files; counts and logs a failure, after which the old contents stay.
  absl::Status ReadAgainLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string Fingerprint() const;

  const TlsPaths paths_;
  const Clock* const clock_;
  Counter reload_failures_;
  mutable Mutex mutex_;
  std::shared_ptr<const TlsMaterial> material_ ABSL_GUARDED_BY(mutex_);
  std::string fingerprint_ ABSL_GUARDED_BY(mutex_);  // of the files as last read
  bool usable_ ABSL_GUARDED_BY(mutex_) = true;
  absl::Duration looked_at_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
};

}  // namespace vmeventd
