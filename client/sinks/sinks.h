#pragma once

#include "client/sinks/sink_table.h"

namespace vmeventd::client {

// All sinks; ADR 36 says why these are two tables. CONTRIBUTING.md lists what a new sink needs.
const SinkTable& AllSinks();

}  // namespace vmeventd::client
