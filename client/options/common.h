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
#include "client/options/reading.h"
#include "client/sources/watch_command.h"

// Options that several commands share. `reading` must outlive the CLI::App.

namespace vmeventd::client {

// Adds a command.
CLI::App* AddCommand(CLI::App* parent, const char* name, const char* help);

// Adds a command and the object for its values. After all values are read, `check` checks and
// completes them; then they become the command of the line.
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

// Parses a time. The context supplies a missing date or zone. `others`, for the error, names other
// values that the option accepts.
absl::Time ReadTime(const OptionContext& context, const std::string& text,
                    absl::string_view others = "");

// Adds --since and --until, with their help. Returns the option --until.
CLI::Option* AddTimes(CLI::App* app, Reading* reading, const char* since_help,
                      const char* until_help, std::optional<absl::Time>* since,
                      std::optional<absl::Time>* until);
// Checks that --since is before --until.
void CheckTimes(const OptionContext& context, std::optional<absl::Time> since,
                std::optional<absl::Time> until);

// Adds --from, --journal and --since.
void AddStart(CLI::App* app, const char* from_help, const OptionContext* context,
              WatchStart* start);

// Adds --node.
void AddNode(CLI::App* app, Reading* reading);

// Adds --timeout and --cursor-file, and returns them.
std::vector<CLI::Option*> AddFollow(CLI::App* app, FollowCommand* command);

}  // namespace vmeventd::client
