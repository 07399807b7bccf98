#pragma once

#include <cstddef>

#include "grpc/reflection/v1/reflection.pb.h"
#include "server/rpc/call_service.h"

// grpc.reflection.v1, and v1alpha, which has the same messages: list the services and describe
// their messages, for tools such as grpcurl. gRPC's own implementation blocks a thread for each
// open call, and supports only v1alpha. Any thread.

namespace vmeventd {

inline constexpr size_t kMaxReflectionBytes = 4'096;  // size of a request, which the answer repeats

// Returns the response; an error is part of it. Pure.
grpc::reflection::v1::ServerReflectionResponse AnswerReflection(
    const grpc::reflection::v1::ServerReflectionRequest& request);
// Adds both versions of the service.
void AddReflectionTo(CallService* methods);

}  // namespace vmeventd
