#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "google/protobuf/descriptor.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include "server/rpc/incoming_call.h"

namespace vmeventd {

// grpc.health.v1.Health: which services are serving, and the open Health/Watch calls of all
// listeners. Replaces gRPC's own, which counts no calls and waits forever for a request. Any
// thread.
class Health {
 public:
  void Set(const std::string& service, bool serving);
  // Returns whether the service is serving; nullopt: there is none of that name.
  std::optional<bool> IsServing(const std::string& service) const;
  // Sets everything to NOT_SERVING for good; each watch sends that and ends with UNAVAILABLE.
  void Drain();

  // Adds Health/Check and Health/Watch to one listener's methods. The object outlives them.
  void AddTo(CallService* listener);

 private:
  void Check(IncomingCall* call) const;
  void Watch(IncomingCall* call);
  class Watcher;
  struct Current {
    int status;  // value of HealthCheckResponse::ServingStatus
    bool draining;
  };
  Current Read(const std::string& service) const;
  void WakeWatchers();
  void Forget(Watcher* watcher);

  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, bool> serving_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<Watcher*, std::shared_ptr<Watcher>> watchers_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

// grpc.reflection.v1 and v1alpha: which services there are, and what their messages look like, for
// tools such as grpcurl. gRPC's own blocks a thread for each open call, and knows v1alpha only. Any
// thread.
class Reflection {
 public:
  static constexpr size_t kMaxRequestBytes = 4'096;  // an answer repeats its request

  Reflection();

  // Adds its methods to one listener's. The object outlives them.
  void AddTo(CallService* listener) const;

  // An error is part of the response.
  grpc::reflection::v1::ServerReflectionResponse Answer(
      const grpc::reflection::v1::ServerReflectionRequest& request) const;

 private:
  // Adds the file and those that it imports, which come first.
  void AddFile(const google::protobuf::FileDescriptor& file);

  google::protobuf::DescriptorPool pool_;  // only what clients may ask about
  std::vector<std::string> services_;
};

}  // namespace vmeventd
