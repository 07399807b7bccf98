#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"
#include "server/rpc/call_service.h"
#include "watcher/core/service_health.h"

namespace vmeventd {

// grpc.health.v1.Health without Watch: which services are serving. Replaces gRPC's own
// implementation, which does not count calls and waits forever for a request. Any thread.
class Health {
 public:
  // Sets the state of each of these services; the others stay as they are. Each part of the daemon
  // reports its own services here.
  void Report(const std::vector<ServiceHealth>& services);

  // The daemon as a whole, which is "" and its gRPC service, serves once the first scan is done,
  // while the watcher responds, and until the stop begins. The daemon reports these.
  void OnFirstScan();
  void OnWatcher(bool responds);
  void OnStop();

  // Returns whether the service is serving; nullopt: no service has that name.
  std::optional<bool> IsServing(const std::string& service) const;
  // Returns the names of all services.
  std::vector<std::string> services() const;
  // Sets everything to NOT_SERVING for good.
  void Drain() {
    const MutexLock lock(&mutex_);
    draining_ = true;
  }

  // Adds Health/Check. The object outlives the methods.
  void AddTo(CallService* methods) const;

 private:
  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, bool> serving_ ABSL_GUARDED_BY(mutex_);  // of the parts
  bool scanned_ ABSL_GUARDED_BY(mutex_) = false;
  bool watcher_responds_ ABSL_GUARDED_BY(mutex_) = true;
  bool stops_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vmeventd
