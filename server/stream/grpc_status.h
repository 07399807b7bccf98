#ifndef VMEVENTD_SERVER_STREAM_GRPC_STATUS_H_
#define VMEVENTD_SERVER_STREAM_GRPC_STATUS_H_

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace vmeventd {

// The codes have the same numbers.
inline grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_STREAM_GRPC_STATUS_H_
