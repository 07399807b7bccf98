#include "client/connect/known_services.h"

#include "absl/strings/str_cat.h"
#include "client/output/terminal_text.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"
#include "watcher/core/health_services.h"

namespace vmeventd::client {

std::map<std::string, std::string> KnownServices(const Invocation& invocation) {
  const std::string info = invocation.Quoted("info");
  return {
      {"", absl::StrCat(" is not serving: it is starting or stopping, or its watcher does not "
                        "respond; ",
                        info, " or its log shows why")},
      {kJournalService, " cannot write its journal, so that events are not durable; see its log"},
      {kListenService,
       " cannot listen on one of its addresses, and tries again; its log has the reason"},
      {kSourcesService,
       absl::StrCat(" has no source of VMs: no watched directory exists and no libvirt is "
                    "connected; run ",
                    invocation.QuotedDoctor())},
      // The services of the sources.
      {"libvirt",
       absl::StrCat(" cannot connect to a libvirt of --libvirt, or of a socket that it matches, "
                    "and does not follow its domains; ",
                    info, " names it")},
      {"watch", absl::StrCat(" misses a directory of --watch; ", info, " names it")}};
}

std::string WhyNotServing(const std::string& service, const Invocation& invocation) {
  const std::map<std::string, std::string> known = KnownServices(invocation);
  const auto found = known.find(service == v1::VmEventService::service_full_name() ? "" : service);
  if (found != known.end()) return found->second;
  return absl::StrCat(" has a service \"", EscapeForTerminal(service),
                      "\" that does not serve; its log shows why");
}

}  // namespace vmeventd::client
