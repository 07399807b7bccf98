#pragma once

#include <memory>
#include <string>

#include "grpcpp/grpcpp.h"

namespace vmeventd {

// A channel that does not share its connection with other channels.
inline std::shared_ptr<grpc::Channel> ChannelOfItsOwn(
    const std::string& target, const std::shared_ptr<grpc::ChannelCredentials>& credentials =
                                   grpc::InsecureChannelCredentials()) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(target, credentials, arguments);
}

}  // namespace vmeventd
