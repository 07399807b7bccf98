#include "client/sources/daemon_info.h"

#include "client/sources/daemon_call.h"

namespace vmeventd::client {

std::optional<Failure> ReadInfo(const DaemonNode& daemon, v1::GetServerInfoResponse* info) {
  const grpc::Status status = Ask(daemon, &Stub::GetServerInfo, v1::GetServerInfoRequest(), info);
  if (!status.ok()) return daemon.Explain(status);
  return std::nullopt;
}

}  // namespace vmeventd::client
