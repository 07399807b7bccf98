#include "client/commands/run_hint.h"

#include "absl/strings/str_cat.h"
#include "client/output/node_event.h"
#include "client/output/node_vm.h"
#include "client/output/terminal_text.h"
#include "client/sources/events_command.h"

namespace vmeventd::client {
namespace {

// Returns whether neither a VM nor an event of one matches. False if the source cannot be asked.
bool IsUnknown(const v1::EventFilter& filter, ListSource* source) {
  NodeVms vms;
  if (source->ReadVms(filter, /*stopped_too=*/true, &vms) || !vms.empty()) return false;
  EventsCommand any;
  *any.request.mutable_filter() = filter;
  any.limit = 1;
  bool found = false;
  const auto unread = source->ReadEvents(any, [&found](const NodeEvent& one) {
    found = one.event.has_vm();  // a GAP of the whole node passes each filter
    return !found;
  });
  return !unread && !found;
}

}  // namespace

std::string ExplainRuns(const v1::EventFilter& filter, ListSource* source) {
  for (const std::string& run : filter.run_ids()) {
    v1::EventFilter of_run;
    of_run.add_run_ids(run);
    if (!IsUnknown(of_run, source)) continue;
    return absl::StrCat("; no event and no VM has the run ID \"", EscapeForTerminal(run), "\"");
  }
  for (const std::string& glob : filter.sources()) {
    v1::EventFilter of_source;
    of_source.add_sources(glob);
    if (!IsUnknown(of_source, source)) continue;
    return absl::StrCat("; no event and no VM is of a source \"", EscapeForTerminal(glob), "\"");
  }
  return "";
}

}  // namespace vmeventd::client
