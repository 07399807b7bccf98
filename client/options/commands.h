#pragma once

#include "CLI/CLI.hpp"
#include "client/options/parser.h"
#include "client/sinks/sinks.h"

// The commands, each with its options, in a file of its name. Define() calls each of them once;
// `reading` outlives the CLI::App.

namespace vmeventd::client {

// The options of the program itself, which may also follow a command.
void AddGeneral(CLI::App* program, Reading* reading);

// `watch` and `push`, with the options of the sinks.
void AddWatch(CLI::App* program, Reading* reading, const SinkTable& sinks);
void AddPush(CLI::App* program, Reading* reading, const SinkTable& sinks);
void AddWeb(CLI::App* program, Reading* reading);
// `events`, and `tail` and `crashes`, which begin otherwise.
void AddEvents(CLI::App* program, Reading* reading);
void AddVms(CLI::App* program, Reading* reading);
void AddWhy(CLI::App* program, Reading* reading);
void AddStats(CLI::App* program, Reading* reading);
void AddStatus(CLI::App* program, Reading* reading);
void AddTop(CLI::App* program, Reading* reading);
void AddFleet(CLI::App* program, Reading* reading);
void AddIntent(CLI::App* program, Reading* reading);
void AddHealth(CLI::App* program, Reading* reading);

}  // namespace vmeventd::client
