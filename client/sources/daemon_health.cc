#include "client/sources/daemon_health.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/connect/connection.h"
#include "client/output/terminal_text.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"
#include "watcher/core/health_services.h"

namespace vmeventd::client {

std::optional<Failure> ReadHealth(const HealthCommand& command, const DaemonNode& daemon,
                                  ServiceStates* states) {
  using Health = grpc::health::v1::HealthCheckResponse;
  // The services, the server as a whole first, and what it means that one does not serve: completes
  // "vmeventd at ADDRESS".
  const std::string info = daemon.invocation.Quoted("info");
  const std::map<std::string, std::string> known = {
      {"", absl::StrCat(" is not serving: it is starting or stopping, or its watcher does not "
                        "respond; ",
                        info, " or its log shows why")},
      {kJournalService, " cannot write its journal, so that events are not durable; see its log"},
      {kLibvirtService,
       absl::StrCat(" cannot connect to a libvirt of --libvirt, or of a socket that it matches, "
                    "and does not follow its domains; ",
                    info, " names it")},
      {kListenService,
       " cannot listen on one of its addresses, and tries again; its log has the reason"},
      {kSourcesService,
       absl::StrCat(" has no source of VMs: no watched directory exists and no libvirt is "
                    "connected; run ",
                    daemon.invocation.QuotedDoctor())},
      {kWatchService, absl::StrCat(" misses a directory of --watch; ", info, " names it")}};
  if (!daemon.connected.ok()) return daemon.Explain({});
  auto asked = known;
  if (!command.all) {
    asked = {{command.service, known.at(known.contains(command.service) ? command.service : "")}};
  }
  std::string faults;
  for (const auto& [service, why] : asked) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::ClientContext call;
    SetRequestDeadline(&call, command.timeout);
    Health response;
    const grpc::Status status = daemon.health->Check(&call, request, &response);
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
      const auto add_name = [](std::string* out, const auto& one) { *out += one.first; };
      return Failure{ExitCode::kNotFound,
                     absl::StrCat("vmeventd at ", ToText(daemon.address), " has no service \"",
                                  EscapeForTerminal(service), "\": omit it, or name ",
                                  v1::VmEventService::service_full_name(),
                                  absl::StrJoin(known, ", ", add_name))};
    }
    if (!status.ok()) return daemon.Explain(status);
    states->emplace_back(!command.all ? "" : service.empty() ? "vmeventd" : service, response);
    if (response.status() == Health::SERVING) continue;
    absl::StrAppend(&faults, faults.empty() ? "" : "; it", why);
  }
  if (faults.empty()) return std::nullopt;
  return Failure{ExitCode::kFailed, absl::StrCat("vmeventd at ", ToText(daemon.address), faults)};
}

}  // namespace vmeventd::client
