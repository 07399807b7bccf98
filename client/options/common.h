#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/options/options.h"
#include "client/options/parser.h"
#include "client/sources/source.h"

// What several commands have in common. `reading` outlives the CLI::App.

namespace vmeventd::client {

// Adds a command.
CLI::App* AddCommand(CLI::App* parent, const char* name, const char* help);

// Adds a command and its values. `check`, which finds them good or completes them, is called once
// all are read; then they are those of the line.
template <typename Command>
std::pair<CLI::App*, Command*> Add(CLI::App* parent, Reading* reading, const char* name,
                                   const char* help,
                                   const std::function<void(Command*)>& check = nullptr) {
  CLI::App* app = AddCommand(parent, name, help);
  const auto command = std::make_shared<Command>();
  app->callback([=] {
    if (check) check(command.get());
    reading->line.command = std::move(*command);
  });
  return {app, command.get()};
}

// Completes a time that has no date or no zone by the context. `others` names what else the option
// takes.
absl::Time ReadTime(const OptionContext& context, const std::string& text,
                    absl::string_view others = "");

// Adds --since and --until, with their help, and returns the latter.
CLI::Option* AddTimes(CLI::App* app, Reading* reading, const char* since_help,
                      const char* until_help, std::optional<absl::Time>* since,
                      std::optional<absl::Time>* until);
// Checks that --since is before --until.
void CheckTimes(std::optional<absl::Time> since, std::optional<absl::Time> until);

// Adds --from, --journal and --since.
void AddStart(CLI::App* app, const char* from_help, const OptionContext* context,
              WatchStart* start);

// Adds --node.
void AddNode(CLI::App* app, Reading* reading);

// Adds --timeout and --cursor-file, and returns them.
std::vector<CLI::Option*> AddFollow(CLI::App* app, FollowCommand* command);

}  // namespace vmeventd::client
