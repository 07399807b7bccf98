#include "client/commands/vms.h"

#include <string>

#include "CLI/CLI.hpp"
#include "absl/algorithm/container.h"
#include "base/glob.h"
#include "client/cli/option.h"
#include "client/cli/option_text.h"
#include "client/options/add_command.h"
#include "client/options/commands.h"
#include "client/options/filter.h"
#include "client/options/reading.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {
namespace {

// A VM that is named, and a request for stopped VMs, imply that they are listed.
void CheckVms(VmsCommand* vms) {
  const v1::EventFilter& filter = vms->filter;
  const bool names_one = !absl::c_all_of(filter.vm_names(), IsGlob);
  const int of_ends = filter.classes_size() + filter.causes_size() + filter.run_ids_size();
  if (vms->runs || vms->trouble || of_ends > 0 || names_one ||
      absl::c_linear_search(vms->states, v1::VM_STATE_STOPPED)) {
    vms->include_stopped = true;
  }
}

}  // namespace

void AddVms(CLI::App* program, Reading* reading) {
  const auto [app, vms] = Add<VmsCommand>(program, reading, "vms", "List the VMs", CheckVms);
  app->alias("ls")->alias("ps");
  AddNode(app, reading);
  AddNames(app, &vms->filter);
  AddEnds(app, &vms->filter);
  AddNamesOf(app, "state", "only VMs in this state, such as running; may be repeated",
             v1::VmState_descriptor(),
             [to = vms](int state) { to->states.push_back(static_cast<v1::VmState>(state)); });
  AddFlag(app, "-a,-A,--all", "include stopped VMs", &vms->include_stopped);
  AddFlag(app, "--runs", "show every run, newest first", &vms->runs);
  AddFlag(
      app, "--trouble",
      "only VMs that need attention: those that have a problem, are paused or unreachable, "
      "whose guest is down, whose intent expires within 2 minutes, or that ended in the last 24 "
      "hours by a crash or for an unknown reason",
      &vms->trouble);
  AddOption(app, "--sort-by", "ORDER",
            "state, name, age, ends, class or trouble (default state, on a terminal trouble)",
            [to = vms](const std::string& text) {
              to->order = static_cast<VmOrder>(ReadChoice("ORDER", text));
            });
}

}  // namespace vmeventd::client
