#pragma once

#include <string>

#include "CLI/CLI.hpp"
#include "client/options/reading.h"
#include "vmeventd/v1/vm_events.pb.h"

// The options of a filter of VMs and events. `filter` must outlive the CLI::App.

namespace vmeventd::client {

// Returns NAME for "vm/NAME", which users of kubectl type, and for "NAME".
std::string ReadVmName(std::string text);

void AddVmName(const std::string& text, v1::EventFilter* filter);

// Adds the options that select VMs: --vm, --uuid and --label. A name may contain commas, so a --vm
// with commas means both that name and the list of names (only the list if it is too long for a
// name).
void AddVm(CLI::App* app, v1::EventFilter* filter);

// Adds --vm, --uuid, --label and the argument NAME.
void AddNames(CLI::App* app, v1::EventFilter* filter);

// Adds the options that select VMs by their sources, runs and ends.
void AddEnds(CLI::App* app, v1::EventFilter* filter);

// Adds all options of the filter, but not the argument NAME.
void AddFilter(CLI::App* app, v1::EventFilter* filter);

// Adds --node. `reading` must outlive the CLI::App.
void AddNode(CLI::App* app, Reading* reading);

}  // namespace vmeventd::client
