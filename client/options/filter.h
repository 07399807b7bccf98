#pragma once

#include <string>

#include "CLI/CLI.hpp"
#include "vmeventd/v1/vm_events.pb.h"

// The options of a filter of VMs and events. `filter` outlives the CLI::App.

namespace vmeventd::client {

// "vm/NAME", as for kubectl, is NAME.
std::string ReadVmName(std::string text);

void AddVmName(const std::string& text, v1::EventFilter* filter);

// Adds what selects VMs: --vm, --uuid and --label. A name may have commas: a text of --vm with some
// is a name and a list.
void AddVm(CLI::App* app, v1::EventFilter* filter);

// Adds those and NAME.
void AddNames(CLI::App* app, v1::EventFilter* filter);

// Adds what selects VMs by their sources, and by their runs and ends.
void AddEnds(CLI::App* app, v1::EventFilter* filter);

// Adds all of the filter but the names.
void AddFilter(CLI::App* app, v1::EventFilter* filter);

}  // namespace vmeventd::client
