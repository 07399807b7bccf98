#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include "server/rpc/incoming_call.h"

namespace vmeventd {

// grpc.health.v1.Health without Watch: which services are serving. Replaces gRPC's own
// implementation, which does not count calls and waits forever for a request. Any thread.
class Health {
 public:
  void Set(const std::string& service, bool serving) {
    const MutexLock lock(&mutex_);
    serving_[service] = serving;
  }
  // Returns whether the service is serving; nullopt: no service has that name.
  std::optional<bool> IsServing(const std::string& service) const;
  // Sets everything to NOT_SERVING for good.
  void Drain() {
    const MutexLock lock(&mutex_);
    draining_ = true;
  }

  // Adds Health/Check. The object outlives the methods.
  void AddTo(CallService* methods) const;

 private:
  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, bool> serving_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

// grpc.reflection.v1, and v1alpha, which has the same messages: list the services and describe
// their messages, for tools such as grpcurl. gRPC's own implementation blocks a thread for each
// open call, and supports only v1alpha. Pure; any thread.

inline constexpr size_t kMaxReflectionBytes = 4'096;  // of a request, which the answer repeats

// Errors are part of the response.
grpc::reflection::v1::ServerReflectionResponse AnswerReflection(
    const grpc::reflection::v1::ServerReflectionRequest& request);
void AddReflectionTo(CallService* methods);

}  // namespace vmeventd
