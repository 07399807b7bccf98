#include "client/sources/daemon_health.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/connect/connection.h"
#include "client/connect/known_services.h"
#include "client/output/terminal_text.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd::client {

std::optional<Failure> ReadHealth(const HealthCommand& command, const DaemonNode& daemon,
                                  ServiceStates* states) {
  using Health = grpc::health::v1::HealthCheckResponse;
  if (!daemon.connected.ok()) return daemon.Explain({});
  std::vector<std::string> known;  // the server as a whole, "", first
  for (const auto& [name, why] : KnownServices(daemon.invocation)) known.push_back(name);
  std::string faults;
  for (const std::string& service : command.all ? known : std::vector{command.service}) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::ClientContext call;
    SetRequestDeadline(&call, command.timeout);
    Health response;
    const grpc::Status status = daemon.health->Check(&call, request, &response);
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
      return Failure{
          ExitCode::kNotFound,
          absl::StrCat("vmeventd at ", ToText(daemon.address), " has no service \"",
                       EscapeForTerminal(service), "\": omit it, or name ",
                       v1::VmEventService::service_full_name(), absl::StrJoin(known, ", "))};
    }
    if (!status.ok()) return daemon.Explain(status);
    states->emplace_back(!command.all ? "" : service.empty() ? "vmeventd" : service, response);
    if (response.status() == Health::SERVING) continue;
    absl::StrAppend(&faults, faults.empty() ? "" : "; it",
                    WhyNotServing(service, daemon.invocation));
  }
  if (faults.empty()) return std::nullopt;
  return Failure{ExitCode::kFailed, absl::StrCat("vmeventd at ", ToText(daemon.address), faults)};
}

}  // namespace vmeventd::client
