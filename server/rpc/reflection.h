#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include "server/rpc/incoming_call.h"

namespace vmeventd {

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
