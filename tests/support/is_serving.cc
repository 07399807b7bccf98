#include "tests/support/is_serving.h"

#include "tests/support/fail.h"
#include "tests/support/raw_call.h"

namespace vmeventd::e2e {

bool IsServing(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  // A HealthCheckRequest for that service, and a HealthCheckResponse with status SERVING.
  const std::string request =
      service.empty() ? "" : "\x0a" + std::string(1, static_cast<char>(service.size())) + service;
  std::string response;
  const grpc::Status status = RawCall(channel, "/grpc.health.v1.Health/Check", request, &response);
  // A start that waits for its disk closes its connections when the daemon itself listens.
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) return false;
  if (!status.ok()) Fail("Check: " + status.error_message());
  return response == "\x08\x01";
}

}  // namespace vmeventd::e2e
