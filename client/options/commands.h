#pragma once

#include "CLI/CLI.hpp"
#include "client/options/reading.h"
#include "client/sinks/sink_table.h"

// Add the commands and their options; each is in the file of its name, `help` in help_command.cc
// and `completion` in completion_command.cc. Define() calls each function once; `reading` must
// outlive the CLI::App.

namespace vmeventd::client {

// The options of the program itself. They may also stand after a command.
void AddGeneral(CLI::App* program, Reading* reading);

// `watch` and `push`, with the options of their sinks.
void AddWatch(CLI::App* program, Reading* reading, const SinkTable& sinks);
void AddPush(CLI::App* program, Reading* reading, const SinkTable& sinks);
void AddWeb(CLI::App* program, Reading* reading);
// `events`, and `tail` and `crashes`, which are `events` with other defaults.
void AddEvents(CLI::App* program, Reading* reading);
void AddVms(CLI::App* program, Reading* reading);
void AddWhy(CLI::App* program, Reading* reading);
void AddStats(CLI::App* program, Reading* reading);
void AddStatus(CLI::App* program, Reading* reading);
void AddTop(CLI::App* program, Reading* reading);
void AddFleet(CLI::App* program, Reading* reading);
void AddIntent(CLI::App* program, Reading* reading);
void AddInfo(CLI::App* program, Reading* reading);
void AddStreams(CLI::App* program, Reading* reading);
void AddHealth(CLI::App* program, Reading* reading);
void AddDoctor(CLI::App* program, Reading* reading);
// `proxy`, which the help does not show.
void AddProxy(CLI::App* program, Reading* reading);
void AddHelp(CLI::App* program);
void AddVersion(CLI::App* program);
void AddCompletion(CLI::App* program, Reading* reading);

}  // namespace vmeventd::client
