#pragma once

#include <memory>
#include <string>

#include "grpcpp/channel.h"

namespace vmeventd::e2e {

// Returns whether the service at a channel is SERVING, by grpc.health.v1.
bool IsServing(const std::shared_ptr<grpc::Channel>& channel, const std::string& service = "");

}  // namespace vmeventd::e2e
