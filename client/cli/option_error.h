#pragma once

#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"

// Errors of options, which ParseCommandLine() and ParseQuery() catch.

namespace vmeventd::client {

// A wrong value, or options that do not fit each other.
struct OptionError : CLI::ParseError {
  OptionError(std::string of_option, const std::string& why)
      : CLI::ParseError("OptionError", why, CLI::ExitCodes::ValidationError),
        option(std::move(of_option)),
        sentence(why) {}

  // Name of the faulty part: the option "--since", the argument "NAME", the command "push", or the
  // origin of the value, such as "$VMEVENTS_SERVER". Empty: `sentence` names it.
  std::string option;
  std::string sentence;  // the fault and the correct form
};

// Throws an OptionError. While an option parses its value, `option` may be left out.
[[noreturn]] inline void Wrong(const std::string& sentence, const std::string& option = "") {
  throw OptionError(option, sentence);
}

// Returns the value. An error is thrown with its sentence; `option`: see Wrong().
template <typename T>
T Need(absl::StatusOr<T> value, const std::string& option = "") {
  if (value.ok()) return *std::move(value);
  Wrong(std::string(value.status().message()), option);
}

}  // namespace vmeventd::client
