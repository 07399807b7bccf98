#ifndef VMEVENTD_SERVER_RAW_MESSAGE_H_
#define VMEVENTD_SERVER_RAW_MESSAGE_H_

#include "absl/status/status.h"
#include "google/protobuf/message_lite.h"
#include "grpcpp/support/byte_buffer.h"

namespace vmeventd {

// Reads a request that came as bytes. INVALID_ARGUMENT where it is no message of that type.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite* message);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_RAW_MESSAGE_H_
