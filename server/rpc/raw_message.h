#ifndef VMEVENTD_SERVER_RPC_RAW_MESSAGE_H_
#define VMEVENTD_SERVER_RPC_RAW_MESSAGE_H_

#include "absl/status/status.h"
#include "google/protobuf/message.h"
#include "grpcpp/support/byte_buffer.h"

namespace vmeventd {

// Parses a request from bytes. INVALID_ARGUMENT if they are no such message; for a text that is not
// UTF-8 the error names field, value and rule.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_RPC_RAW_MESSAGE_H_
