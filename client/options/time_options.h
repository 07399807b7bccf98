#pragma once

#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/options/option_context.h"
#include "client/options/reading.h"

// Options with times. `reading` must outlive the CLI::App.

namespace vmeventd::client {

// Ends the help of --since.
inline constexpr char kTimeForms[] =
    ", such as 1h, \"a week ago\", noon, 8pm, monday, \"yesterday 14:00\", boot or 2026-07-01";

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

}  // namespace vmeventd::client
