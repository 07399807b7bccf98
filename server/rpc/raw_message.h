#ifndef VMEVENTD_SERVER_RPC_RAW_MESSAGE_H_
#define VMEVENTD_SERVER_RPC_RAW_MESSAGE_H_

#include "absl/status/status.h"
#include "google/protobuf/message.h"
#include "grpcpp/support/byte_buffer.h"

namespace vmeventd {

// Reads a request that came as bytes. INVALID_ARGUMENT where it is no message of that type; of a
// text that is not UTF-8 the error names field, value and rule.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_RPC_RAW_MESSAGE_H_
