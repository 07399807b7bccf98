#pragma once

#include "absl/status/status.h"
#include "google/protobuf/message.h"
#include "grpcpp/support/byte_buffer.h"

namespace vmeventd {

// Parses a request from bytes. INVALID_ARGUMENT: they are no valid message of that type, or a text
// is not UTF-8.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message);

}  // namespace vmeventd
