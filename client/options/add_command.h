#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "CLI/CLI.hpp"
#include "client/options/reading.h"

// Adds commands. `reading` must outlive the CLI::App.

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

}  // namespace vmeventd::client
